"""GET /api/events/: who may read, what is found, in which pages and forms."""

import csv
import io
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from audit import api_pages
from audit.api_formats import json_row
from audit.api_rows import EventSerializer
from audit.events import Action
from audit.models import AuditEvent, State
from tests.factories import ORGANIZATION, digest_of, make_row

pytestmark = pytest.mark.django_db

URL = "/api/events/"
OTHER = uuid.UUID("22222222-2222-4222-8222-222222222222")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(time: datetime) -> int:
    """Nanoseconds since the epoch."""
    return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000


def make_mirrored(payload: str, **values: Any) -> AuditEvent:
    """What another publisher sent."""
    row = AuditEvent(
        **{
            "event_id": uuid.uuid4(),
            "occurred_at": NOON,
            "action": "APITokenCreated",
            "payload": payload,
            "state": State.MIRRORED,
            **values,
        }
    )
    row.save()
    return row


def make_user(*permissions: str, **values: Any) -> User:
    user = User.objects.create_user("reader", password="secret", **{"is_staff": True, **values})
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(make_user("view_auditevent"))
    return client


def found(client: Client, **query: Any) -> list[str]:
    """File names of all that is found, over all pages."""
    names: list[str] = []
    url: str | None = URL
    while url:
        answer = client.get(url, query)
        assert answer.status_code == 200, answer.content
        content = answer.json()
        names += [event["file_name"] for event in content["results"]]
        url, query = content["next"], {}
    return names


def assert_problem(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), answer.content
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    detail: str = problem["detail"]
    return detail


class TestWhoMayRead:
    @pytest.mark.parametrize("authorization", [None, "Basic cmVhZGVyOndyb25n", "Basic nonsense", "Bearer a.b.c"])
    @pytest.mark.parametrize("accept", ["*/*", "text/csv"])
    def test_nobody_without_a_user(self, client: Client, authorization: str | None, accept: str) -> None:
        make_user("view_auditevent")
        headers = {"Authorization": authorization} if authorization else {}
        answer = client.get(URL, headers={**headers, "Accept": accept})
        assert answer.status_code == 401
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] in {"not_authenticated", "authentication_failed"}
        assert answer["WWW-Authenticate"].startswith("Basic realm=")

    @pytest.mark.parametrize(
        ("permissions", "values"),
        [
            ([], {"is_staff": True}),
            (["view_usagetotal"], {"is_staff": True}),
            (["view_auditevent"], {"is_staff": False}),
            ([], {"is_staff": False, "is_superuser": True}),
        ],
    )
    def test_user_who_may_not(self, client: Client, permissions: list[str], values: dict[str, bool]) -> None:
        client.force_login(make_user(*permissions, **values))
        assert_problem(client.get(URL), 403, "permission_denied")

    def test_inactive_user_is_nobody(self, client: Client) -> None:
        user = make_user("view_auditevent")
        client.force_login(user)
        User.objects.update(is_active=False)
        assert client.get(URL).status_code == 401

    @pytest.mark.parametrize("values", [{}, {"is_superuser": True}])
    def test_staff_by_password(self, client: Client, values: dict[str, bool]) -> None:
        make_user("view_auditevent", **values)
        answer = client.get(URL, headers={"Authorization": "Basic cmVhZGVyOnNlY3JldA=="})
        assert answer.status_code == 200
        assert answer["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_nothing_can_be_changed(self, reader: Client, method: str) -> None:
        assert_problem(reader.generic(method, URL), 405, "method_not_allowed")


class TestFields:
    def test_event_is_shown_in_full(self, reader: Client) -> None:
        row = make_row(State.PUBLISHED, timestamp_ns=at(NOON) + 1_000, file_name="a b.txt")
        AuditEvent.objects.update(stream_sequence=7, published_at=NOON + timedelta(seconds=1))
        content = reader.get(URL).json()
        assert content["next"] is None
        assert content["results"] == [
            {
                "event_id": str(row.event_id),
                "occurred_at": "2026-11-24T12:00:00.000001Z",
                "action": "CASArtifactUploaded",
                "kind": "uploaded",
                "org_id": str(ORGANIZATION),
                "digest": str(digest_of(b"content")),
                "size_bytes": 7,
                "file_name": "a b.txt",
                "backend": "FILESYSTEM",
                "location": "default",
                "skipped": False,
                "subject": "audit.casartifact.casartifactuploaded",
                "state": "published",
                "stream_sequence": 7,
                "published_at": "2026-11-24T12:00:01.000000Z",
                "position": None,
                "payload": json.loads(row.payload),
            }
        ]

    def test_described_fields_are_those_shown(self, reader: Client) -> None:
        make_row()
        assert list(reader.get(URL).json()["results"][0]) == list(EventSerializer().fields)

    def test_foreign_event_has_no_kind_and_may_have_no_organization(self, reader: Client) -> None:
        make_mirrored('{"a":1}')
        event = reader.get(URL).json()["results"][0]
        assert (event["kind"], event["org_id"], event["digest"], event["state"]) == ("", None, "", "mirrored")

    @pytest.mark.parametrize(
        "payload", ["", "no JSON", "[1]", "12", '{"a":NaN}', '{"a":', "[" * 100_000, '{"a":' * 100_000, '{"a":"\n"}']
    )
    def test_payload_that_is_no_object_is_a_text(self, reader: Client, payload: str) -> None:
        make_mirrored(payload)
        assert reader.get(URL).json()["results"][0]["payload"] == payload

    @pytest.mark.parametrize(
        "payload",
        [
            '{"a":1e400,"b":0.10000000000000000001}',
            '{"a":"\\ud800"}',
            '{"a":1,"a":2}',
            '{"n":%s}' % ("9" * 5000),
            "{}",
            '{"a":"\u2028 \\u003c"}',
        ],
    )
    def test_payload_that_is_an_object_stands_as_it_is(self, reader: Client, payload: str) -> None:
        make_mirrored(payload)
        for form in ("json", "ndjson"):
            assert f'"payload":{payload}' in reader.get(URL, {"format": form}).content.decode()

    def test_payload_over_several_lines_is_one_line_of_json_lines(self, reader: Client) -> None:
        make_mirrored('{\r\n  "a": "\\n"\n}\n')
        lines = reader.get(URL, {"format": "ndjson"}).content.decode().splitlines()
        assert [json.loads(line)["payload"] for line in lines] == [{"a": "\n"}]


class TestFilters:
    @pytest.fixture(autouse=True)
    def _trail(self) -> None:
        make_row(State.LOCAL, timestamp_ns=at(NOON), file_name="old.txt", digest="ab12" + "0" * 60, size_bytes=10)
        make_row(
            State.PUBLISHED,
            timestamp_ns=at(NOON + timedelta(hours=1)),
            file_name="Report 100%.pdf",
            org_id=OTHER,
            skipped=True,
            size_bytes=2_000_000,
        )
        make_row(
            State.PENDING,
            timestamp_ns=at(NOON + timedelta(hours=2)),
            file_name="new_report.txt",
            action=Action.DOWNLOADED,
            backend="AWS-S3",
            location="archive",
            digest="ab13" + "f" * 60,
            size_bytes=0,
        )
        make_mirrored("{}", occurred_at=NOON + timedelta(hours=3), file_name="foreign")

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ({}, ["foreign", "new_report.txt", "Report 100%.pdf", "old.txt"]),
            ({"org": str(OTHER)}, ["Report 100%.pdf"]),
            ({"org": str(OTHER).upper()}, ["Report 100%.pdf"]),
            ({"org": str(uuid.UUID(int=1))}, []),
            ({"action": "uploaded"}, ["old.txt"]),
            ({"action": "deduplicated"}, ["Report 100%.pdf"]),
            ({"action": "downloaded"}, ["new_report.txt"]),
            ({"action": "CASArtifactUploaded"}, ["Report 100%.pdf", "old.txt"]),
            ({"action": "APITokenCreated"}, ["foreign"]),
            ({"location": "archive"}, ["new_report.txt"]),
            ({"location": "arch"}, []),
            ({"backend": "AWS-S3"}, ["new_report.txt"]),
            ({"state": "published"}, ["Report 100%.pdf"]),
            ({"state": "mirrored"}, ["foreign"]),
            ({"digest": "ab12"}, ["old.txt"]),
            ({"digest": "sha256:AB13"}, ["new_report.txt"]),
            ({"digest": "ab12" + "0" * 60}, ["old.txt"]),
            ({"digest": "sha256:ab12" + "0" * 59 + "1"}, []),
            ({"file_name": "report"}, ["new_report.txt", "Report 100%.pdf"]),
            ({"file_name": "%"}, ["Report 100%.pdf"]),
            ({"file_name": "t 1"}, ["Report 100%.pdf"]),
            ({"file_name": " "}, ["Report 100%.pdf"]),
            ({"min_size": "10"}, ["Report 100%.pdf", "old.txt"]),
            ({"min_size": "1MB", "max_size": "2MB"}, ["Report 100%.pdf"]),
            ({"max_size": "0"}, ["foreign", "new_report.txt"]),
            ({"from": "2026-11-24T13:00:00Z"}, ["foreign", "new_report.txt", "Report 100%.pdf"]),
            ({"to": "2026-11-24T13:00:00Z"}, ["old.txt"]),
            ({"from": "2026-11-24T14:00:00+01:00", "to": "2026-11-24T13:00:00.000001Z"}, ["Report 100%.pdf"]),
            ({"from": "2026-11-24T14:00:00"}, ["foreign", "new_report.txt"]),
            ({"from": "2026-11-25"}, []),
            ({"to": "2026-11-25", "org": str(ORGANIZATION), "action": "uploaded"}, ["old.txt"]),
            ({"digest": "ab1", "file_name": "txt", "action": "downloaded"} | {"digest": "ab13"}, ["new_report.txt"]),
            ({"digest": "ab13", "action": "uploaded"}, []),
        ],
    )
    @pytest.mark.parametrize(("looked_at", "few"), [(20_000, 5_000), (2, 5_000), (1, 0)])
    def test_events_are_found(
        self,
        reader: Client,
        monkeypatch: pytest.MonkeyPatch,
        query: dict[str, str],
        names: list[str],
        looked_at: int,
        few: int,
    ) -> None:
        monkeypatch.setattr(api_pages, "LOOKED_AT", looked_at)
        monkeypatch.setattr(api_pages, "FEW", few)
        assert found(reader, **query) == names
        assert found(reader, **query, page_size=1) == names

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("colour=red", "colour"),
            ("organization=x", "organization"),
            ("org=acme", "org"),
            ("org=", "org"),
            (f"org={ORGANIZATION}&org={OTHER}", "org"),
            ("action=uplaoded", "action"),
            ("action=", "action"),
            ("state=sent", "state"),
            ("digest=abc", "digest"),
            ("digest=xyz12", "digest"),
            ("digest=sha512:abcd", "digest"),
            (f"digest={'a' * 65}", "digest"),
            ("file_name=%00", "file_name"),
            ("file_name=", "file_name"),
            ("location=%00", "location"),
            ("from=yesterday", "from"),
            ("from=2026-02-30", "from"),
            ("from=2026-11-24T08:00:00+01:00", "from"),
            ("from=0001-01-01T00:00:00%2B01:00", "from"),
            ("from=%D9%A1026-11-24", "from"),
            ("from=2026-11-24&to=2026-11-24", "to"),
            ("to=2026-11-24T25:00:00Z", "to"),
            ("min_size=-1", "min_size"),
            ("min_size=many", "min_size"),
            ("max_size=99999999999999999999", "max_size"),
            (f"max_size={'9' * 5000}", "max_size"),
            ("min_size=2&max_size=1", "max_size"),
            ("page_size=0", "page_size"),
            ("page_size=1001", "page_size"),
            ("page_size=all", "page_size"),
            ("format=xml", "format"),
            ("format=", "format"),
            ("format=csv&format=json", "format"),
            ("cursor=", "cursor"),
            ("cursor=abc", "cursor"),
            ("cursor=%C3%A9", "cursor"),
            ("cursor=WyJhIiwxXQ", "cursor"),
            ("cursor=WyIyMDI2LTExLTI0IiwtMV0", "cursor"),
            ("cursor=WyIyMDI2LTExLTI0IiwxLDJd", "cursor"),
        ],
    )
    @pytest.mark.parametrize("accept", ["application/json", "text/csv"])
    def test_nonsense_is_refused_by_name(self, reader: Client, query: str, name: str, accept: str) -> None:
        detail = assert_problem(reader.get(f"{URL}?{query}", headers={"Accept": accept}), 400, "invalid_parameter")
        assert detail.startswith(f"{name}: ")

    def test_a_plus_that_an_address_lost_is_explained_there_alone(self, reader: Client) -> None:
        def said(query: str) -> str:
            return assert_problem(reader.get(f"{URL}?{query}"), 400, "invalid_parameter")

        assert "%2B" in said("from=2026-11-24T08:00:00+01:00")
        assert said("from=yesterday") == "from: Not a time such as 2026-11-24T08:00:00Z."


class TestPages:
    def test_every_event_comes_once_though_times_are_the_same(self, reader: Client) -> None:
        rows = [make_row(timestamp_ns=at(NOON), file_name=f"{number}") for number in range(7)]
        assert found(reader, page_size=2) == [row.file_name for row in reversed(rows)]

    def test_new_events_do_not_shift_the_pages(self, reader: Client) -> None:
        for number in range(4):
            make_row(file_name=f"{number}")
        first = reader.get(URL, {"page_size": 2}).json()
        make_row(file_name="new")
        second = reader.get(first["next"]).json()
        assert [event["file_name"] for event in second["results"]] == ["1", "0"]
        assert second["next"] is None

    def test_a_page_that_is_just_full_has_no_next(self, reader: Client) -> None:
        for _ in range(3):
            make_row()
        assert reader.get(URL, {"page_size": 3}).json()["next"] is None

    @pytest.mark.parametrize("form", ["json", "csv", "ndjson"])
    def test_link_leads_to_the_next_page_in_every_format(self, reader: Client, form: str) -> None:
        make_row(file_name="é")
        make_row(file_name="é")
        answer = reader.get(URL, {"page_size": "1", "format": form, "file_name": "é"})
        url = answer["Link"].removeprefix("<").removesuffix('>; rel="next"')
        assert url.startswith("http://testserver/api/events/?")
        last = reader.get(url)
        assert last.status_code == 200
        assert last["Content-Type"] == answer["Content-Type"]
        assert "Link" not in last

    def test_search_that_finds_nothing_for_long_says_where_to_go_on(
        self, reader: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_pages, "LOOKED_AT", 3)
        for number in range(7):
            make_row(file_name="needle" if number == 0 else "hay")
        sizes = []
        url: str | None = f"{URL}?file_name=needle"
        while url:
            content = reader.get(url).json()
            sizes.append(len(content["results"]))
            url = content["next"]
        assert sizes == [0, 0, 1]

    def test_number_of_queries_does_not_grow(
        self, reader: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for _ in range(5):
            make_row()
        of_the_user = 7  # session, user, whether a script, second factor, permissions twice, limit
        with django_assert_num_queries(of_the_user + 1):
            reader.get(URL)
        with django_assert_num_queries(of_the_user + 2):
            reader.get(URL, {"file_name": "c"})
        with django_assert_num_queries(of_the_user + 1):
            reader.get(URL, {"digest": str(digest_of(b"content"))})
        with django_assert_num_queries(of_the_user + 3):
            reader.get(URL, {"digest": str(digest_of(b"content"))[:12]})


class TestForms:
    def test_json_unless_asked_otherwise(self, reader: Client) -> None:
        for headers in ({"X-None": ""}, {"Accept": "*/*"}, {"Accept": "text/html,*/*;q=0.8"}):
            assert reader.get(URL, headers=headers)["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("query", "accept", "content_type"),
        [
            ({}, "text/csv", "text/csv; charset=utf-8"),
            ({}, "application/x-ndjson", "application/x-ndjson; charset=utf-8"),
            ({"format": "csv"}, "application/json", "text/csv; charset=utf-8"),
            ({"format": "ndjson"}, "*/*", "application/x-ndjson; charset=utf-8"),
            ({"format": "json"}, "text/html", "application/json"),
        ],
    )
    def test_form_by_parameter_or_header(
        self, reader: Client, query: dict[str, str], accept: str, content_type: str
    ) -> None:
        assert reader.get(URL, query, headers={"Accept": accept})["Content-Type"] == content_type

    def test_form_there_is_not(self, reader: Client) -> None:
        detail = assert_problem(reader.get(URL, headers={"Accept": "image/png"}), 406, "not_acceptable")
        assert detail.endswith("application/json, text/csv, application/x-ndjson.")

    def test_csv_reads_back(self, reader: Client) -> None:
        make_row(file_name='a "b", c')
        make_row(file_name="=HYPERLINK(1)", skipped=True)
        answer = reader.get(URL, {"format": "csv"})
        assert answer["Content-Disposition"] == 'attachment; filename="events.csv"'
        text = answer.content.decode()
        assert text.count("\r\n") == 3
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [(row["file_name"], row["skipped"], row["org_id"]) for row in rows] == [
            ("'=HYPERLINK(1)", "true", str(ORGANIZATION)),
            ('a "b", c', "false", str(ORGANIZATION)),
        ]
        assert rows[0]["position"] == ""

    def test_json_lines_are_the_rows_of_json(self, reader: Client) -> None:
        make_row(file_name="=1")
        make_row(file_name="zwei")
        lines = reader.get(URL, {"format": "ndjson"}).content.decode().splitlines()
        assert [json.loads(line) for line in lines] == reader.get(URL).json()["results"]

    def test_empty_page(self, reader: Client) -> None:
        assert reader.get(URL).json() == {"next": None, "results": []}
        assert reader.get(URL, {"format": "ndjson"}).content == b""
        assert len(reader.get(URL, {"format": "csv"}).content.splitlines()) == 1

    def test_head_has_the_headers_alone(self, reader: Client) -> None:
        make_row()
        make_row()
        answer = reader.head(URL, {"page_size": 1})
        assert (answer.status_code, answer.content) == (200, b"")
        assert "Link" in answer


def test_database_that_is_away(reader: Client) -> None:
    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if "audit_auditevent" in sql:
            raise OperationalError("password=hunter2")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse):
        detail = assert_problem(reader.get(URL), 503, "unavailable")
    assert "hunter2" not in detail


def test_rows_without_payload_are_json_too() -> None:
    assert json_row({"a": "é"}) == '{"a":"é"}'
