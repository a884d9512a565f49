"""What is shipped for Prometheus and Grafana: rules that fire when they should, and metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from artifacts.models import Location, Scrub
from audit.models import LastPublished, TrailHead, WorkerBeat
from casproject.observability import process
from common.metrics import METRICS
from tests.prometheus import promtool

DEPLOY = Path(settings.BASE_DIR) / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
TESTS = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD = DEPLOY / "grafana" / "artifact-cas.json"
PAGE = Path(settings.BASE_DIR) / "docs" / "observability.md"

_NAME = re.compile(r"\bcas_[a-z_]+\b")
_SELECTOR = re.compile(r"(cas_[a-z_]+)\{([^}]*)\}")
_LABEL = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')
_BY = re.compile(r"by \(([a-z_, ]+)\)")
_OF_PROMETHEUS = {"job", "instance", "le"}

Families = dict[str, Any]


@pytest.fixture
def families(client: Client, location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Families:
    """All that `/metrics` can show, by name."""
    monkeypatch.setattr(process.sharing(), "_folder", tmp_path / "metrics")
    Scrub.objects.create(location=location, corrupt=1)
    LastPublished.objects.create(pk=1, sequence=1, published_at="2026-11-28T08:00:00Z")
    TrailHead.objects.create(pk=1, checkpointed_at="2026-11-28T08:00:00Z")
    WorkerBeat.objects.create(name="celery@a", seen_at="2026-11-28T08:00:00Z", waiting_files=0)
    text = client.get("/metrics").content.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def base(name: str) -> str:
    """The metric that a series is of, as its family is called."""
    return re.sub(r"_(total|bucket|count|sum)$", "", name)


def labels_of(name: str) -> set[str]:
    known = next((metric for metric in METRICS.values() if base(metric.name) == name), None)
    others = {"finding", "location", "worker", "version", "python_version", "django_version"}
    return set(known.labels) if known else others


def test_promtool_finds_no_fault() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("check", "config", RULES.with_name("prometheus.yml"))


def test_each_alert_fires_when_it_should_and_not_else() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)


def test_each_alert_is_tested_both_ways() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in alerts()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} == rule["annotations"].keys()


def test_every_expression_can_be_read() -> None:
    ranged = [each.replace("$__rate_interval", "5m").replace("$__range", "6h") for each in expressions()]
    rules = [{"record": f"test:expression:{number}", "expr": each} for number, each in enumerate(ranged)]
    text = yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    assert "SUCCESS" in promtool("check", "rules", "/dev/stdin", stdin=text.encode())


@pytest.mark.django_db
def test_every_metric_that_is_named_is_there(families: Families) -> None:
    named = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert len(named) > 15
    assert {base(name) for name in named} <= {base(name) for name in families}


@pytest.mark.django_db
def test_every_label_that_is_asked_for_is_there(families: Families) -> None:
    for expression in expressions():
        asked = {
            (base(name), label) for name, inner in _SELECTOR.findall(expression) for label in _LABEL.findall(inner)
        }
        assert not {(name, label) for name, label in asked if label not in labels_of(name) | _OF_PROMETHEUS}
        names = {base(name) for name in _NAME.findall(expression)}
        grouped = {label.strip() for each in _BY.findall(expression) for label in each.split(",")}
        assert grouped <= set().union(*map(labels_of, names), _OF_PROMETHEUS), expression


@pytest.mark.django_db
def test_everything_that_is_shown_is_on_the_dashboard(families: Families) -> None:
    shown = {base(name) for panel in panels() for target in panel["targets"] for name in _NAME.findall(target["expr"])}
    assert {base(name) for name in families} == shown


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells
        taken |= cells
    assert max(x for x, _ in taken) < 24


@pytest.mark.django_db
def test_page_has_each_metric_as_it_is(families: Families) -> None:
    expected = []
    for name, family in sorted(families.items()):
        shown = f"{name}_total" if family.type == "counter" else name
        metric = METRICS.get(shown)
        labels = metric.labels if metric else sorted({key for sample in family.samples for key in sample.labels})
        cells = [f"`{shown}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation]
        expected.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `cas_")]
    assert rows == expected, "\n".join(expected)
