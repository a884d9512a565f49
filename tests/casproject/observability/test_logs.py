"""Log lines: one each whatever they hold, in two forms, and without secrets."""

import json
import logging
import sys
from typing import Any

import pytest
from django.test import Client

from artifacts.tokens import Grant
from casproject.observability import access_log
from casproject.observability.exchange import Exchange
from casproject.observability.logs import JSON, Plain
from casproject.observability.redaction import redact, redact_all
from common.origin import ORIGIN, REQUEST_ID
from tests.factories import make_token

FORGED = 'a\n{"level": "CRITICAL"}\r\x1b[31m\u2028\u202egnp.exe\x00'


def record(message: str, *args: object, **options: Any) -> logging.LogRecord:
    return logging.LogRecord("cas", logging.WARNING, "file", 1, message, args, options.get("exc_info"))


def failure(text: str) -> logging.LogRecord:
    try:
        raise ValueError(text)
    except ValueError:
        return record("failed", exc_info=sys.exc_info())


@pytest.mark.parametrize("formatter", [Plain(), JSON()], ids=["plain", "json"])
def test_nothing_that_a_message_holds_ends_its_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record("no such file: %s", FORGED))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_traceback_cannot_pretend_to_be_a_record() -> None:
    lines = Plain().format(failure(f"it\nCRITICAL root: all is lost{FORGED}")).splitlines()
    assert lines[0] == "WARNING cas: failed"
    assert all(line.startswith("    ") and line.isprintable() for line in lines[1:])
    assert any("ValueError: it" in line for line in lines)


def test_json_line_has_what_is_known() -> None:
    token = ORIGIN.set({REQUEST_ID: "r-1"})
    fields = json.loads(JSON().format(failure("broken")))
    ORIGIN.reset(token)
    assert fields.pop("exception").endswith("ValueError: broken\n")
    assert fields.pop("time").endswith("+00:00")
    assert fields == {"level": "WARNING", "logger": "cas", "message": "failed", "request_id": "r-1"}
    assert "request_id" not in json.loads(JSON().format(record("x")))


def test_plain_line_has_the_requests_id() -> None:
    token = ORIGIN.set({REQUEST_ID: "r-1"})
    assert Plain().format(record("x")) == "WARNING cas: x [r-1]"
    ORIGIN.reset(token)
    assert Plain().format(record("x")) == "WARNING cas: x"


@pytest.mark.parametrize("host", ["cas.example", "c%s.example", "-"])
def test_hosts_that_are_not_ours_are_a_line_a_minute(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for each in logging.getLogger("django.security.DisallowedHost").filters:  # more where Celery set up Django again
        monkeypatch.setattr(each, "_next", 0)
    for _ in range(3):
        client.get("/", headers={"Host": host})
    (record,) = [each for each in caplog.records if each.name == "django.security.DisallowedHost"]
    (line,) = Plain().format(record).splitlines()
    assert f"'{host}'" in line
    assert "CAS_ALLOWED_HOSTS" in line or host != "cas.example"


SECRETS = {
    "Authorization: Bearer {}": "abc.def",
    "connect to nats://{}@nats:4222 failed": "s3cr3t",
    "postgres://cas:{}@db/cas": "p4ssw0rd",
    "nats://:{}@db": "p4ssw0rd",
    "GET /download/sha256:ab?filename=x&t={} HTTP/1.1": "tok3n",
    "Basic {}": "YWRtaW46YWRtaW4=",
    "the token {} is expired": make_token("uploader"),
    "cut off: {}": make_token("uploader")[:60],
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.items(), ids=range(len(SECRETS)))
def test_secrets_are_redacted_wherever_they_are(text: str, secret: str) -> None:
    for line in (Plain().format(record(text.format(secret))), JSON().format(failure(text.format(secret)))):
        assert secret not in line
        assert "[redacted]" in line


def test_what_is_no_secret_stays() -> None:
    text = "GET http://127.0.0.1:8000/artifacts/sha256:ab?filename=a@b.txt&t2=x: see nats://nats:4222, eyJ and a.b.c"
    assert redact(text) == text


def test_what_has_a_secrets_name_is_redacted_whole() -> None:
    event = {"headers": {"Authorization": "x", "Accept": "y"}, "list": [{"api_key": "z"}, "Bearer q"], "n": 1}
    assert redact_all(event) == {
        "headers": {"Authorization": "[redacted]", "Accept": "y"},
        "list": [{"api_key": "[redacted]"}, "Bearer [redacted]"],
        "n": 1,
    }


def exchange(path: str, **environ: str) -> Exchange:
    made = Exchange({"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "t=tok3n", **environ})
    made.status = 200
    return made


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(access_log, "_write", lines.append)
    return lines


def test_access_line_of_a_transfer(written: list[str]) -> None:
    download = exchange("/artifacts/sha256:ab", HTTP_X_REQUEST_ID="r-7")
    download.grant = Grant("downloader", "FILESYSTEM", "default", org_id="acme")
    download.outcome, download.digest, download.size_bytes = "served", "ab", 12
    access_log.write_json(download)
    access_log.write_plain(download)
    fields = json.loads(written[0])
    del fields["time"]
    assert fields == {
        "level": "INFO",
        "logger": "cas.access",
        "request_id": "r-7",
        "method": "GET",
        "path": "/artifacts/sha256:ab",
        "status": 200,
        "duration_ms": 0.0,
        "action": "download",
        "result": "served",
        "organization": "acme",
        "location": "FILESYSTEM/default",
        "digest": "ab",
        "bytes": 12,
    }
    assert written[1] == (
        "INFO cas.access: request_id=r-7 method=GET path=/artifacts/sha256:ab status=200 duration_ms=0.0 "
        "action=download result=served organization=acme location=FILESYSTEM/default digest=ab bytes=12"
    )


@pytest.mark.parametrize("write", [access_log.write_json, access_log.write_plain])
def test_access_line_is_one_line_and_holds_no_secret(write: Any, written: list[str]) -> None:
    odd = exchange(f"/artifacts/{FORGED} status=200 {make_token('uploader')}", HTTP_X_REQUEST_ID=FORGED)
    odd.grant = Grant("downloader", FORGED, FORGED, org_id=FORGED)
    write(odd)
    (line,) = written
    assert line.isprintable()
    assert "tok3n" not in line
    assert "eyJ" not in line
    assert line.count("status=200 ") == (1 if line.startswith("{") else 2)  # the claimed one is in quotes


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/static/admin/css/base.css"])
def test_probes_and_scrapes_make_no_line(path: str, written: list[str]) -> None:
    access_log.write_json(exchange(path))
    access_log.write_plain(exchange(path))
    assert written == []


def test_line_that_nobody_takes_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_STANDARD_ERROR", 10_000)  # no such descriptor
    access_log.write_json(exchange("/artifacts/x"))


@pytest.mark.parametrize("sent", ["", "a b", "a\nb", "x" * 129, "-x", "é", "<script>", '"'])
def test_request_id_that_is_not_sane_is_replaced(sent: str) -> None:
    first, second = exchange("/", HTTP_X_REQUEST_ID=sent), exchange("/", HTTP_X_REQUEST_ID=sent)
    assert sent not in {first.request_id, second.request_id}
    assert first.request_id != second.request_id


@pytest.mark.parametrize("sent", ["a", "0af7651916cd43dd8448eb211c80319c", "c0ffee-1/2:3@x=y+z", "x" * 128])
def test_sane_request_id_is_kept(sent: str) -> None:
    assert exchange("/", HTTP_X_REQUEST_ID=sent).request_id == sent
