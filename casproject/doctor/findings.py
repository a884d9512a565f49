"""What trying a part comes to, and how it is tried without ever waiting for it longer than that."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from django.db import connection

from casproject.observability.redaction import redact


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. What is not ok has a remedy; neither text holds a secret."""

    part: str
    level: Level
    text: str
    remedy: str = ""


def ok(part: str, text: str) -> Finding:
    return Finding(part, Level.OK, text)


def warn(part: str, text: str, remedy: str) -> Finding:
    return Finding(part, Level.WARN, text, remedy)


def fail(part: str, text: str, remedy: str) -> Finding:
    return Finding(part, Level.FAIL, text, remedy)


@dataclass(frozen=True, slots=True)
class Trial:
    """How to try a part; `remedy` is for whatever it raises, and for its silence."""

    part: str
    run: Callable[[], Iterable[Finding]]
    remedy: str


def attempt(trial: Trial, seconds: float) -> list[Finding]:
    """What it finds; when it does not end in time, what it found until then and that it does not answer.

    It runs in a thread, which dies with the process: nothing can be relied on to give up by itself.
    """
    found: list[Finding] = []

    def work() -> None:
        try:
            for finding in trial.run():
                found.append(finding)  # noqa: PERF402  (what it found until it hangs counts)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what was found)
            found.append(fail(trial.part, _told(error), trial.remedy))
        finally:
            connection.close()

    thread = threading.Thread(target=work, name=f"doctor-{trial.part}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return [*found, fail(trial.part, f"no answer within {seconds:g} seconds", trial.remedy)]
    return found


def _told(error: Exception) -> str:
    text = " ".join(str(error).split()).removesuffix(".")  # a remedy follows after one
    return redact(f"{type(error).__name__}: {text}" if text else type(error).__name__)
