"""What is counted of requests and transfers. What publishing counts is in audit/metrics.py."""

from itertools import product

from artifacts.exceptions import ArtifactCorrupt
from artifacts.storage.backends import backend_names
from audit import metrics as publishing  # noqa: F401  (whoever shows metrics must know of all of them)
from common.metrics import Counter, Histogram

OTHER = "other"
KINDS = frozenset(backend_names())

TRANSFERS = Counter(
    "cas_transfers_total",
    "Uploads and downloads that ended, by what became of them.",
    ["action", "result", "location_kind"],
    known=product(("upload", "download"), ("failed", "busy"), sorted({*KINDS, OTHER})),
)
UPLOADED_BYTES = Counter("cas_uploaded_bytes_total", "Bytes of artifacts that were stored.", ["location_kind"])
DEDUPLICATED_BYTES = Counter(
    "cas_deduplicated_bytes_total",
    "Bytes of artifacts that were uploaded again and not stored again.",
    ["location_kind"],
)
DOWNLOADED_BYTES = Counter(
    "cas_downloaded_bytes_total", "Bytes of artifacts and ranges that were downloaded to their end.", ["location_kind"]
)
DURATION = Histogram(
    "cas_transfer_duration_seconds",
    "Time from a transfer's request to the last byte of its answer, at the client's pace.",
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800],
    ["action"],
    known=[("upload",), ("download",)],
)
RESPONSES = Counter(
    "cas_http_responses_total", "HTTP responses, by part of the server and class of status.", ["part", "status"]
)
PROBLEMS = Counter(
    "cas_problems_total",
    "Errors that clients were told of, or that cut an answer off, by their code; busy: no slot was free.",
    ["code"],
    known=[(ArtifactCorrupt.code,)],
)
