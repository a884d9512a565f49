"""Clients that never stop: uploads of new content, repeated uploads, downloads, of several organizations."""

import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import requests

from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import digest_of, make_token
from tests.functional.stack import LiveStack

ORGANIZATIONS = 3
THREADS = 6  # two of an organization
PAUSE = 0.02  # seconds between two transfers of a thread: a machine that is busy, not one that is overrun
SIZES = (1_000, 4_096, 100_000)  # bytes
PATIENCE = 30  # seconds that a client waits for bytes
DAY = 24 * 3600


class Outcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # the server said so
    UNKNOWN = "unknown"  # there was no answer, or not all of it: it may have happened
    REFUSED = "refused"  # there was nobody to connect to: it cannot have happened


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer as its client saw it. `name` is its file name, which no other transfer has."""

    name: str
    outcome: Outcome
    started: float  # of time.monotonic
    seconds: float
    detail: str = ""


class Clients:
    """Threads that transfer until the `with` block ends; `transfers` is what they saw.

    `url` and `certificate` are of a proxy before the stack.
    """

    def __init__(
        self, stack: LiveStack, *, are_slow: bool = False, url: str = "", certificate: Path | None = None
    ) -> None:
        self.transfers: list[Transfer] = []
        self._url = url or stack.url
        self._certificate = certificate
        self._are_slow = are_slow
        self._is_over = threading.Event()
        self._seen: list[bytes] = []
        organizations = [str(uuid.uuid4()) for _ in range(ORGANIZATIONS)]
        # The clocks of servers are stepped, and tokens must outlast that.
        claims: list[dict[str, Any]] = [{"org-id": name, "exp": int(time.time()) + DAY} for name in organizations]
        self._tokens = [
            {role: make_token(role, key=stack.private_key, **each) for role in (UPLOADER, DOWNLOADER)}
            for each in claims
        ]
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        tokens = self._tokens[number % ORGANIZATIONS]
        with requests.Session() as session:
            if self._certificate:
                session.trust_env = False  # a bundle that the environment names goes before it, else
                session.verify = str(self._certificate)
            while not self._is_over.wait(PAUSE):
                self._transfer(session, chance, tokens)

    def _transfer(self, session: requests.Session, chance: random.Random, tokens: dict[str, str]) -> None:
        name = uuid.uuid4().hex
        action = chance.choice(["new", "new", "again", "get"]) if self._seen else "new"
        content = os.urandom(chance.choice(SIZES)) if action == "new" else chance.choice(self._seen[-200:])
        started = time.monotonic()
        try:
            answer = (
                self._get(session, content, name, tokens)
                if action == "get"
                else self._put(session, content, name, tokens)
            )
            outcome, detail = self._judge(answer, content, is_download=action == "get")
        except requests.ConnectionError as error:
            outcome, detail = (Outcome.REFUSED if "refused" in str(error) else Outcome.UNKNOWN), repr(error)
        except requests.RequestException as error:
            outcome, detail = Outcome.UNKNOWN, repr(error)
        self.transfers.append(Transfer(name, outcome, started, time.monotonic() - started, detail))
        if outcome is Outcome.ACKNOWLEDGED and action == "new":
            self._seen.append(content)
        elif outcome is not Outcome.ACKNOWLEDGED:
            self._is_over.wait(0.1)

    def _put(self, session: requests.Session, content: bytes, name: str, tokens: dict[str, str]) -> Any:
        body: Any = _Slowly(content) if self._are_slow and len(content) == SIZES[-1] else content
        return session.put(f"{self._url}/artifacts/{digest_of(content)}", body, **_options(name, tokens[UPLOADER]))

    def _get(self, session: requests.Session, content: bytes, name: str, tokens: dict[str, str]) -> Any:
        return session.get(f"{self._url}/download/{digest_of(content)}", **_options(name, tokens[DOWNLOADER]))

    def _judge(self, answer: requests.Response, content: bytes, *, is_download: bool) -> tuple[Outcome, str]:
        if not answer.ok:
            return Outcome.FAILED, f"{answer.status_code} {answer.text[:200]}"
        if is_download and answer.content != content:
            return Outcome.FAILED, "other bytes than were stored"
        return Outcome.ACKNOWLEDGED, ""


class _Slowly:
    """A body whose second half comes later, so that whoever kills the server meets an upload that is under way."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        half = len(self._content) // 2
        yield self._content[:half]
        time.sleep(0.2)
        yield self._content[half:]


def _options(name: str, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    return {"params": {"filename": name}, "headers": headers, "timeout": PATIENCE}
