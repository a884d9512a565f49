"""Slots: taken before a body is read, and given back whatever happens."""

import gc
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, RequestFactory

from artifacts import admission, views
from artifacts.admission import NOBODY, Slots
from artifacts.exceptions import Busy
from artifacts.models import Location
from artifacts.services import AT_ONCE
from artifacts.storage import open_store
from artifacts.tokens import DOWNLOADER
from casproject import forms
from tests.factories import ORGANIZATION, bearer, digest_of

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"
STREAMED = bytes(AT_ONCE + 1)


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Slots:
    """A web process that takes eight transfers."""
    slots = Slots(8)
    monkeypatch.setattr(views, "TRANSFERS", slots)
    return slots


class Unread(io.BytesIO):
    """A body that a test forbids to read."""

    def read(self, *args: Any) -> bytes:
        raise AssertionError("the body was read")


UNREAD: dict[str, Any] = {"wsgi.input": Unread(), "CONTENT_LENGTH": "12"}


def test_no_holder_gets_more_than_three_quarters() -> None:
    slots = Slots(8)
    held = [slots.take("one") for _ in range(6)]
    with pytest.raises(Busy):
        slots.take("one")
    others = [slots.take("another"), slots.take("a third")]
    with pytest.raises(Busy):
        slots.take("a fourth")
    assert slots.taken == len(held) + len(others) == 8


def test_an_organization_and_nobody_leave_room_together() -> None:
    slots = Slots(8)
    held = [*(slots.take("one") for _ in range(6)), slots.take(NOBODY)]
    with pytest.raises(Busy):
        slots.take(NOBODY)
    held.append(slots.take("another"))
    assert slots.taken == len(held)


@pytest.mark.parametrize("total", range(2, 8))
def test_nobody_gets_one_of_few(total: int) -> None:
    slots = Slots(total)
    held = [slots.take(NOBODY)]
    with pytest.raises(Busy):
        slots.take(NOBODY)
    held.append(slots.take("one"))
    assert slots.taken == len(held)


def test_nobody_never_gets_the_only_one() -> None:
    with pytest.raises(Busy):
        Slots(1).take(NOBODY)


@pytest.mark.django_db
def test_refused_body_is_heard_out_where_transfers_are_few(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "TRANSFERS", Slots(2))
    body = io.BytesIO(CONTENT)
    environ: dict[str, Any] = {"wsgi.input": body, "CONTENT_LENGTH": str(len(CONTENT))}
    assert client.put(URL, headers=bearer(exp=1), **environ).status_code == 401
    assert body.read() == b""


def test_token_without_an_organization_is_somebodys() -> None:
    slots = Slots(8)
    assert len([slots.take("") for _ in range(6)]) == 6


def test_slot_is_released_once() -> None:
    slots = Slots(8)
    first, second = slots.take("one"), slots.take("one")
    first.release()
    first.release()
    assert slots.taken == 1
    second.release()
    assert slots.taken == 0


def test_slot_that_nobody_releases_is_released_all_the_same() -> None:
    slots = Slots(8)
    held: list[Any] = [slots.take("one")]
    held.append(held)  # a cycle, as a traceback and its frames are
    del held
    gc.collect()
    assert slots.taken == 0


def test_process_has_as_many_as_the_settings_say(settings: Any) -> None:
    assert admission.TRANSFERS._total == settings.CAS_MAX_TRANSFERS


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "role"), [("put", "uploader"), ("post", "uploader"), ("get", DOWNLOADER)])
def test_transfer_beyond_is_refused_before_its_body_is_read(
    client: Client, location: Location, slots: Slots, method: str, role: str
) -> None:
    held = [slots.take(str(ORGANIZATION)) for _ in range(6)]
    answer = getattr(client, method)(URL if method != "post" else "/artifacts/", headers=bearer(role), **UNREAD)
    assert answer.status_code == 503
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Retry-After"] == "5"
    assert answer.json()["code"] == "unavailable"
    assert "database" not in answer.json()["detail"]
    assert slots.taken == len(held)


@pytest.mark.django_db
def test_what_moves_no_artifact_needs_no_slot(client: Client, root: Path, slots: Slots) -> None:
    client.put(URL, CONTENT, headers=bearer())
    held = [slots.take(str(ORGANIZATION)) for _ in range(6)]
    assert client.head(URL, headers=bearer()).status_code == 200
    assert client.get(f"{URL}/describe", headers=bearer()).status_code == 200
    assert slots.taken == len(held)


@pytest.mark.django_db
def test_head_that_finishes_an_upload_or_waits_for_it_takes_a_slot(
    client: Client, location: Location, root: Path, slots: Slots
) -> None:
    headers = {**bearer(), "Tus-Resumable": "1.0.0"}
    begun = client.generic("POST", "/uploads/", headers={**headers, "Upload-Length": str(len(CONTENT))})
    partial = open_store(location).partial(begun["Location"].split("/")[-1])
    held = [slots.take(str(ORGANIZATION)) for _ in range(6)]
    assert client.head(begun["Location"], headers=headers)["Upload-Offset"] == "0"
    partial.append(0, CONTENT)
    answer = client.head(begun["Location"], headers=headers)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert slots.taken == len(held)
    held.pop().release()
    answer = client.head(begun["Location"], headers=headers)
    assert (answer.status_code, answer["Content-Location"]) == (200, URL)
    assert slots.taken == len(held)


@pytest.mark.django_db
def test_slot_is_held_while_a_download_runs_and_no_longer(client: Client, root: Path, slots: Slots) -> None:
    assert client.put(f"/artifacts/{digest_of(STREAMED)}", STREAMED, headers=bearer()).status_code == 201
    assert slots.taken == 0
    answer = client.get(f"/artifacts/{digest_of(STREAMED)}", headers=bearer(DOWNLOADER))
    assert slots.taken == 1
    assert answer.getvalue() == STREAMED
    assert slots.taken == 0


@pytest.mark.django_db
def test_client_that_leaves_a_download_gives_its_slot_back(root: Path, slots: Slots) -> None:
    Client().put(f"/artifacts/{digest_of(STREAMED)}", STREAMED, headers=bearer())
    request = RequestFactory().get(f"/artifacts/{digest_of(STREAMED)}", headers=bearer(DOWNLOADER))
    answer = views.ArtifactView.as_view()(request, digest=str(digest_of(STREAMED)))
    assert slots.taken == 1
    answer.close()  # what a server does then, without having read a block
    assert slots.taken == 0


@pytest.mark.django_db
@pytest.mark.parametrize("claims", [{}, {"role": "downloader"}, {"exp": 1}, None])
def test_refused_upload_gives_its_slot_back(
    client: Client, location: Location, slots: Slots, claims: dict[str, Any] | None
) -> None:
    headers = {} if claims is None else bearer(**claims)
    answer = client.put(f"/artifacts/{digest_of(b'else')}", CONTENT, headers=headers)
    assert answer.status_code in {401, 403, 422}
    assert slots.taken == 0


@pytest.mark.django_db
def test_upload_that_raises_what_nobody_foresaw_gives_its_slot_back(
    client: Client, location: Location, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("artifacts.services.upload", fail)
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 500
    assert slots.taken == 0


def test_nobodys_body_is_not_waited_for_beyond_its_share(client: Client, slots: Slots) -> None:
    held = slots.take(NOBODY)
    answer = client.put(URL, headers={"Authorization": "Bearer nonsense"}, **UNREAD)
    assert answer.status_code == 401
    held.release()


@pytest.fixture
def forms_taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slots]:
    """A web process whose places for forms are all taken, until the test releases them."""
    slots = Slots(4)
    monkeypatch.setattr(forms, "_FORMS", slots)
    held = [slots.take("forms") for _ in range(3)]
    yield slots
    assert slots.taken == len(held)


@pytest.mark.django_db
def test_form_beyond_is_refused_before_it_is_read(client: Client, forms_taken: Slots) -> None:
    answer = client.post("/admin/login/", content_type="application/x-www-form-urlencoded", **UNREAD)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert client.get("/admin/login/").status_code == 200


@pytest.mark.django_db
def test_form_gives_its_place_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(4)
    monkeypatch.setattr(forms, "_FORMS", slots)
    assert client.post("/admin/login/", {"username": "x", "password": "y"}).status_code == 200
    assert slots.taken == 0


@pytest.mark.django_db
@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/api/events/"])
def test_form_that_is_too_large_is_refused_before_it_is_read(
    client: Client, settings: Any, path: str, content_type: str
) -> None:
    length = str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    answer = client.post(path, content_type=content_type, **{**UNREAD, "CONTENT_LENGTH": length})
    assert answer.status_code == 413


@pytest.mark.django_db
def test_form_of_no_announced_length_is_an_empty_one(client: Client) -> None:
    endless = {**UNREAD, "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = client.post("/admin/login/", content_type="multipart/form-data; boundary=x", **endless)
    assert answer.status_code == 200
