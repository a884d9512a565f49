"""A transfer is freed when it ends: what waits for the garbage collector is slow, and holds its bytes meanwhile."""

import gc
from collections.abc import Iterator
from contextlib import closing

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.test import RequestFactory

from artifacts.models import Location
from artifacts.tokens import DOWNLOADER
from casproject.handlers import TransferHandler
from tests.factories import bearer, digest_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def garbage(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What the garbage collector finds, which it looks for when told to; it keeps all that once its flag is set."""
    # Closed at a request's end, but this test has one transaction.
    monkeypatch.setattr(connections["default"], "close_if_unusable_or_obsolete", lambda: None)
    gc.disable()
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("size", [5, 300_000])
def test_transfer_leaves_nothing_to_the_garbage_collector(location: Location, garbage: list[object], size: int) -> None:
    handler = TransferHandler(settings.TRANSFER_MIDDLEWARE)
    transfer(handler, b"first" * size)  # and what is loaded for it
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    transfer(handler, b"x" * size)
    gc.collect()
    ours = (
        "artifacts.",
        "casproject.",
        "audit.",
        "common.",
        "rest_framework.",
        "django.http.",
        "django.core.handlers.",
    )
    assert [kept for kept in garbage if type(kept).__module__.startswith(ours)] == []


def transfer(handler: TransferHandler, content: bytes) -> None:
    assert answer(handler, "PUT", content, bearer())[0] == 201
    assert answer(handler, "GET", content, bearer(DOWNLOADER)) == (200, content)


def answer(handler: TransferHandler, method: str, content: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    path = f"/artifacts/{digest_of(content)}"
    sent = RequestFactory().generic(method, path, content if method == "PUT" else b"", headers=headers)
    with closing(handler.get_response(WSGIRequest(sent.environ))) as response:
        return response.status_code, b"".join(response)
