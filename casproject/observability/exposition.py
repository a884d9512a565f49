"""Metrics as Prometheus reads them: text or OpenMetrics, whichever it asks for."""

import platform
from collections.abc import Callable, Iterator

import django
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from casproject.observability import state
from casproject.observability.sharing import Totals
from casproject.version import VERSION
from common.metrics import METRICS, Counter, Histogram

GAUGES = {
    "cas_transfers_in_progress": "Uploads and downloads under way.",
    "cas_transfer_slots": "Uploads and downloads that the web processes take at once.",
}
_SUFFIX = "_total"


class Everything(Collector):
    """The counters of all processes and what is read now, as prometheus-client wants it."""

    def __init__(self, totals: Totals, gauges: list[state.Gauge]) -> None:
        self._totals = totals
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for name, series in sorted(self._totals.counts.items()):
            metric = METRICS[name]
            if isinstance(metric, Counter):
                family = CounterMetricFamily(name.removesuffix(_SUFFIX), metric.documentation, labels=metric.labels)
                for labels, (value,) in sorted(series.items()):
                    family.add_metric(labels, value)
                yield family
            elif isinstance(metric, Histogram):
                yield _histogram(metric, series)
        for name, documentation in GAUGES.items():
            yield GaugeMetricFamily(name, documentation, self._totals.gauges.get(name, 0))
        yield GaugeMetricFamily(
            "cas_metrics_processes", "Processes that live and share their metrics.", self._totals.processes
        )
        for gauge in self._gauges:
            shown = GaugeMetricFamily(gauge.name, gauge.documentation, labels=gauge.labels)
            for labels, value in gauge.values.items():
                shown.add_metric(labels, value)
            yield shown
        build = GaugeMetricFamily(
            "cas_build_info", "What is running; always 1.", labels=["version", "python_version", "django_version"]
        )
        build.add_metric([VERSION, platform.python_version(), django.get_version()], 1)
        yield build


def _histogram(metric: Histogram, series: dict[tuple[str, ...], list[float]]) -> Metric:
    family = HistogramMetricFamily(metric.name, metric.documentation, labels=metric.labels)
    for labels, values in sorted(series.items()):
        count = 0.0
        buckets = []
        for bound, within in zip([*map(str, metric.buckets), "+Inf"], values[:-1], strict=True):
            count += within
            buckets.append((bound, count))
        family.add_metric(labels, buckets, values[-1])
    return family


def render(accept: str, totals: Totals, gauges: list[state.Gauge]) -> tuple[bytes, str]:
    """The answer to a scrape, and its Content-Type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything(totals, gauges))
    encode: Callable[[CollectorRegistry], bytes]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
