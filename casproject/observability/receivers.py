"""What the apps' signals tell of the request under way."""

from typing import Any

from django.dispatch import receiver

from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded, problem_answered
from casproject.observability import definitions
from casproject.observability.exchange import CURRENT, DEDUPLICATED, SERVED, STORED


# Not by one function that all three call: it would take as long as what it does.
@receiver(artifact_uploaded)
def on_upload(digest: str, size_bytes: int, **_: Any) -> None:
    if exchange := CURRENT.get():
        exchange.outcome, exchange.digest, exchange.size_bytes = STORED, digest, size_bytes


@receiver(artifact_deduplicated)
def on_deduplicated_upload(digest: str, size_bytes: int, **_: Any) -> None:
    if exchange := CURRENT.get():
        exchange.outcome, exchange.digest, exchange.size_bytes = DEDUPLICATED, digest, size_bytes


@receiver(artifact_downloaded)
def on_download(digest: str, size_bytes: int, **_: Any) -> None:
    if exchange := CURRENT.get():
        exchange.outcome, exchange.digest, exchange.size_bytes = SERVED, digest, size_bytes


@receiver(problem_answered)
def on_problem(*, code: str, is_busy: bool, **_: Any) -> None:
    shown = "busy" if is_busy else code
    definitions.PROBLEMS.add(1, shown)
    if exchange := CURRENT.get():
        exchange.code = shown
