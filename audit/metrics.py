"""What is counted of publishing, and of checkpoints."""

from collections.abc import Iterable

from audit.answers import Ack, Outcome
from common.metrics import Counter, Histogram

_RESULTS = ("acked", "duplicate", "timeout", "refused", "failed")

PUBLISHED = Counter(
    "cas_publish_results_total",
    "Attempts to publish an event, by result; refused may pass and is tried again, failed never will.",
    ["result"],
    known=[(result,) for result in _RESULTS],
)
BATCH_DURATION = Histogram(
    "cas_publish_batch_duration_seconds",
    "Time from handing a batch of events to NATS to its last ack.",
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
)
CHECKPOINTS_REFUSED = Counter(
    "cas_checkpoints_refused_total",
    "How often no checkpoint was written, for the trail did not lead on from the last that was seen.",
)
UNREACHABLE = Counter("cas_publish_unreachable_total", "How often there was no connection to NATS to publish over.")


def count_batch(outcomes: Iterable[Outcome], seconds: float) -> None:
    """Count what became of a batch."""
    BATCH_DURATION.observe(seconds)
    for outcome in outcomes:
        PUBLISHED.add(1, _result(outcome))


def _result(outcome: Outcome) -> str:
    if isinstance(outcome, Ack):
        return "duplicate" if outcome.is_duplicate else "acked"
    if outcome.is_permanent:
        return "failed"
    return "timeout" if outcome.is_timeout else "refused"
