"""`manage.py doctor` tells what works and what does not, each with a remedy, in a bounded time, and no secret."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as project_settings
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from artifacts import credentials
from artifacts.models import Location
from audit.models import State, WorkerBeat
from audit.nats_probe import matches, may_publish
from casproject.doctor import broker, configuration, keys, locations, nats
from casproject.doctor.findings import Finding, Level, Trial, attempt, ok
from tests.factories import make_row
from tests.nats_servers import Authority
from tests.servers import BrokerServer, NatsServer
from tests.tls import TlsFront

PROJECT = Path(project_settings.BASE_DIR)


@pytest.fixture
def blackhole() -> Iterator[str]:
    """host:port of something that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder whose database is migrated."""
    manage(tmp_path, "migrate", "--verbosity", "0")
    return tmp_path


def manage(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "casproject.settings",
            "CAS_DATA_DIR": str(data_dir),
            "DATABASE_URL": f"sqlite:///{data_dir / 'cas.sqlite3'}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def doctor(data_dir: Path, *arguments: str, **environment: str) -> tuple[int, list[dict[str, str]]]:
    """Its exit status, and what it found."""
    done = manage(data_dir, "doctor", "--json", *arguments, **environment)
    assert "Traceback" not in done.stderr, done.stderr
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return done.returncode, findings


def failed(findings: list[dict[str, str]]) -> set[str]:
    assert all(finding["remedy"] for finding in findings if finding["level"] != "ok")
    return {finding["part"] for finding in findings if finding["level"] == "fail"}


def test_whole_installation_is_well(data_dir: Path, nats: NatsServer) -> None:
    folder = data_dir / "artifacts"
    manage(data_dir, "create_location", "default", "--folder", str(folder))
    status, findings = doctor(data_dir, NATS_URL=nats.url)
    assert (status, failed(findings)) == (0, set())
    parts = {finding["part"] for finding in findings if finding["level"] == "ok"}
    assert parts >= {
        *("settings", "data folder", "token keys", "checkpoint key", "broker", "NATS", "stream", "database"),
        *("credential keys", "journal", "events", "location FILESYSTEM/default"),
    }
    assert list(folder.rglob("*")) == [path for path in folder.rglob("*") if path.is_dir()]  # the probe is gone


def test_location_of_wrong_settings_is_told_with_what_is_wrong(data_dir: Path) -> None:
    code = "from artifacts.models import *; Location.objects.create(name='x', backend='AWS-S3', options={'foo': 1})"
    manage(data_dir, "shell", "--no-imports", "--command", code)
    lines = manage(data_dir, "doctor").stdout.splitlines()
    (line,) = [line for line in lines if "location AWS-S3/x" in line]
    assert "wrong. ImproperlyConfigured: Invalid setting 'foo' for S3Storage. “Test" in line
    assert "StorageError" not in line


def test_lines_are_for_people_and_hold_no_secret(data_dir: Path) -> None:
    done = manage(
        data_dir,
        "doctor",
        NATS_URL="nats://hunter2@127.0.0.1:1,nats://user:hunter2@127.0.0.1:2",
        CAS_METRICS_TOKEN="hunter2hunter2hunter2",
        NATS_USER="cas",
        NATS_PASSWORD="hunter2",
    )
    assert done.returncode == 1
    assert "NATS_URL=nats://********@127.0.0.1:1,nats://********@127.0.0.1:2\n" in done.stdout
    assert "NATS_PASSWORD=********\n" in done.stdout
    assert "ok    database: SQLite" in done.stdout
    assert "fail  NATS: " in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("variable", "form", "part"),
    [
        ("NATS_URL", "nats://{}", "NATS"),
        ("CELERY_BROKER_URL", "redis://{}/0", "broker"),
        ("CELERY_BROKER_URL", "amqp://guest:guest@{}//", "broker"),
        ("DATABASE_URL", "postgres://postgres@{}/postgres", "database"),
    ],
    ids=["NATS", "Redis", "RabbitMQ", "PostgreSQL"],
)
def test_what_does_not_answer_holds_it_up_for_no_longer_than_told(
    data_dir: Path, blackhole: str, variable: str, form: str, part: str
) -> None:
    started = time.monotonic()
    status, findings = doctor(data_dir, "--timeout", "5", **{variable: form.format(blackhole)})
    assert time.monotonic() - started < 60
    assert status == 1
    assert part in failed(findings)
    assert {"settings", "data folder", "token keys"} <= {each["part"] for each in findings if each["level"] == "ok"}


def test_database_that_is_not_migrated(tmp_path: Path) -> None:
    status, findings = doctor(tmp_path)
    assert status == 1
    assert failed(findings) == {"database", "locations, workers, events"}
    assert "`manage.py migrate`" in {finding["remedy"] for finding in findings}


def test_wrong_setting_is_a_line_among_others(data_dir: Path) -> None:
    status, findings = doctor(data_dir, CAS_MAX_TRANSFERS="64", CAS_MAX_UPLOAD_BYTE="1")
    assert (status, failed(findings)) == (1, {"settings"})
    texts = [finding["text"] for finding in findings if finding["part"] == "settings"]
    assert any("(casproject.E003)" in text for text in texts)
    assert any("CAS_MAX_UPLOAD_BYTE is set, and nothing reads it. (casproject.W001)" in text for text in texts)


def examined(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.level.value, finding.text) for finding in found]


def test_stream_that_is_not_there(tmp_path: Path, settings: Settings) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    settings.NATS_URL = server.url
    try:
        assert ("fail", "there is no stream chainloop-audit") in examined(nats.examine())
        call_command("audit_stream", "create", stdout=io.StringIO())
        assert {level for level, _ in examined(nats.examine())} == {"ok"}
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("permissions", "found"),
    [
        ('publish: ["audit.>", "$SYS.REQ.USER.INFO", "$JS.API.>"]', {"ok"}),
        ('publish: ["audit.casartifact.>", "$SYS.REQ.USER.INFO", "$JS.API.>"]', {"ok", "fail"}),
        ('publish: {deny: "audit.castrail.>"}', {"ok", "fail"}),
        ('publish: ["audit.>"]', {"ok", "warn"}),
    ],
    ids=["may", "may not all", "denied", "may not ask"],
)
def test_permission_is_told_without_publishing(
    tmp_path: Path, settings: Settings, permissions: str, found: set[str]
) -> None:
    (tmp_path / "nats.conf").write_text(f"""
        authorization {{ users: [
            {{user: owner, password: owner}},
            {{user: cas, password: cas, permissions: {{ {permissions} }} }}
        ] }}
    """)
    server = NatsServer(tmp_path / "nats", "-c", str(tmp_path / "nats.conf"))
    server.start()
    settings.NATS_URL = server.url.replace("//", "//owner:owner@")
    try:
        call_command("audit_stream", "create", stdout=io.StringIO())
        settings.NATS_URL = server.url.replace("//", "//cas:cas@")
        lines = examined(nats.examine())
        settings.NATS_URL = server.url.replace("//", "//owner:owner@")
        info = io.StringIO()
        call_command("audit_stream", "info", stdout=info)
    finally:
        server.stop()
    assert {level for level, _ in lines} == found, lines
    assert "0 messages" in info.getvalue()


def test_stream_with_other_subjects(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.management.commands.audit_stream.SUBJECTS", ["audit.casartifact.>"])
    server = NatsServer(tmp_path / "nats")
    server.start()
    settings.NATS_URL = server.url
    try:
        call_command("audit_stream", "create", stdout=io.StringIO())
        text = "chainloop-audit takes audit.casartifact.>, but not audit.castrail.castrailcheckpointed, audit.casuser."
        assert next(each for level, each in examined(nats.examine()) if level == "fail").startswith(text)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("pattern", "subject", "is_one"),
    [
        (">", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a", "a.b", False),
    ],
)
def test_subjects_of_a_pattern(pattern: str, subject: str, *, is_one: bool) -> None:
    assert matches(pattern, subject) is is_one


def test_denial_goes_before_permission() -> None:
    assert may_publish({}, "audit.x")
    assert may_publish({"allow": ["audit.>"]}, "audit.x")
    assert not may_publish({"allow": ["other.>"]}, "audit.x")
    assert not may_publish({"allow": [">"], "deny": ["audit.*"]}, "audit.x")


@pytest.mark.django_db
def test_credentials_that_no_key_decrypts(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.CAS_CREDENTIAL_KEYS = [old]
    secret = credentials.encrypt({"access_key": "a"})
    Location.objects.create(name="lost", backend="AWS-S3", encrypted_credentials=secret)
    assert examined(keys.examine_credential_keys()) == [("ok", "1; the first encrypts those of 1 locations")]
    settings.CAS_CREDENTIAL_KEYS = [new, old]
    assert examined(keys.examine_credential_keys()) == [("warn", "an old one encrypts those of AWS-S3/lost")]
    settings.CAS_CREDENTIAL_KEYS = [new]
    assert examined(keys.examine_credential_keys()) == [("fail", "none decrypts those of AWS-S3/lost")]
    (trial,) = locations.trials()
    assert [(finding.part, finding.level) for finding in trial.run()] == [("location AWS-S3/lost", Level.FAIL)]


@pytest.mark.django_db(transaction=True)
def test_location_that_cannot_be_written_to_keeps_no_other_from_being_tried(location: Location, tmp_path: Path) -> None:
    Location.objects.create(name="gone", backend="FILESYSTEM", options={"location": str(tmp_path / "gone")})
    found = {trial.part: attempt(trial, 30)[0].level for trial in locations.trials()}
    assert found == {"location FILESYSTEM/default": Level.OK, "location FILESYSTEM/gone": Level.FAIL}


def test_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for free, level in ((10**12, Level.OK), (10**9, Level.WARN), (10**8, Level.FAIL)):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda folder, usage=usage: usage)
        assert locations.free_space("disk", str(tmp_path)).level is level


@pytest.mark.django_db
@pytest.mark.parametrize(("minutes", "level"), [(None, "warn"), (1, "ok"), (60, "fail")])
def test_workers_are_seen_by_what_they_write_down(minutes: int | None, level: str) -> None:
    if minutes is not None:
        seen_at = timezone.now() - timedelta(minutes=minutes)
        WorkerBeat.objects.create(name="celery@here", seen_at=seen_at, waiting_files=0)
    assert [found for found, _ in examined(broker.examine_workers())] == [level]


@pytest.mark.django_db
@pytest.mark.parametrize(("minutes", "words"), [(None, "Start `worker`"), (60, "Start `worker`"), (1, "look again")])
def test_what_is_to_be_counted_asks_for_workers_only_when_none_is_at_it(
    monkeypatch: pytest.MonkeyPatch, minutes: int | None, words: str
) -> None:
    monkeypatch.setattr(broker, "MANY", 0)
    make_row(State.LOCAL)
    if minutes is not None:
        seen_at = timezone.now() - timedelta(minutes=minutes)
        WorkerBeat.objects.create(name="celery@here", seen_at=seen_at, waiting_files=0)
    WorkerBeat.objects.create(name="maintenance@here", seen_at=timezone.now(), waiting_files=0)  # which seals nothing
    (finding,) = broker.examine_events()
    assert finding.text == "1 wait to be sealed and counted"
    assert words in finding.remedy


def test_part_that_hangs_is_told_with_what_it_found_until_then() -> None:
    is_over = threading.Event()

    def hang() -> Iterator[Finding]:
        yield ok("part", "the first thing")
        is_over.wait(60)

    found = attempt(Trial("part", hang, "remedy"), 0.5)
    is_over.set()
    assert [finding.text for finding in found] == ["the first thing", "no answer within 0.5 seconds"]


def test_whatever_a_part_raises_is_told_without_what_looks_like_a_secret() -> None:
    def fall() -> Iterator[Finding]:
        yield from ()
        raise RuntimeError("postgres://user:hunter2@host\nis away")

    (finding,) = attempt(Trial("part", fall, "remedy"), 10)
    assert (finding.level, finding.remedy) == (Level.FAIL, "remedy")
    assert finding.text == "RuntimeError: postgres://[redacted]@host is away"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://user:p@ss@host/name?password=x", "postgres://********@host/name?********"),
        ("postgres://cas:hunter2,part@db/cas", "postgres://********@db/cas"),
        ("postgres://cas:hunter2,amqp://@db/cas", "postgres://********@db/cas"),
        ("redis://:hun/ter?2#,@redis/0", "redis://********@redis/0"),
        ("hunter2", "********"),
        ("hunter2,hunter2@host", "********"),
        ("", ""),
    ],
)
def test_url_is_masked(url: str, shown: str) -> None:
    assert configuration.masked(url) == shown


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        ("nats://a:1,tls://b", "nats://a:1,tls://b"),
        ("nats://hunter2@a:1, tls://b", "nats://********@a:1,tls://b"),
        ("nats://cas:hunter2,part@a,nats://cas:hunter2@b", "nats://********@a,nats://********@b"),
        ("nats://a,hunter2", "nats://a,********"),
        ("hunter2", "********"),
        ("", ""),
    ],
)
def test_urls_are_masked_each(urls: str, shown: str) -> None:
    assert configuration.masked_all(urls) == shown


def test_no_part_of_a_password_is_printed_wherever_commas_are(data_dir: Path, blackhole: str) -> None:
    address = f"cas:hunter2,part@{blackhole}"
    done = manage(
        data_dir,
        *("doctor", "--timeout", "5"),
        DATABASE_URL=f"postgres://{address}/cas",
        CELERY_BROKER_URL=f"redis://{address}/0",
        NATS_URL=f"nats://{address}",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{address}",
    )
    assert f"DATABASE_URL=postgres://********@{blackhole}/cas\n" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_broker_is_named_without_its_password(data_dir: Path) -> None:
    server = BrokerServer(data_dir / "redis")
    server.start()
    try:
        address = f"127.0.0.1:{server.port}"
        _, findings = doctor(data_dir, CELERY_BROKER_URL=f"redis://default:hunter2,part@{address}/0")
    finally:
        server.stop()
    texts = [finding["text"] for finding in findings if finding["part"] == "broker"]
    assert f"connected to redis://********@{address}/0" in texts
    assert "hunter2" not in json.dumps(findings)


def of_broker(data_dir: Path, url: str, **environment: str) -> str:
    """What is first said of it."""
    _, findings = doctor(data_dir, CELERY_BROKER_URL=url, **environment)
    return next(finding["text"] for finding in findings if finding["part"] == "broker")


def test_broker_over_tls_must_have_a_certificate_that_is_known_unless_its_address_says_otherwise(
    data_dir: Path,
) -> None:
    authority = Authority(data_dir)
    server = BrokerServer(data_dir / "redis")
    server.start()
    try:
        with TlsFront(server.port, *authority.issue("broker")) as front:
            url = f"rediss://127.0.0.1:{front.port}/0"
            assert "certificate verify failed" in of_broker(data_dir, url)
            for options in (f"ssl_ca_certs={authority.file}", "ssl_cert_reqs=none"):
                assert of_broker(data_dir, f"{url}?{options}").startswith("connected to rediss://")
            rabbitmq = f"amqps://127.1:{front.port}//"
            assert "certificate verify failed: unable" in of_broker(data_dir, rabbitmq)
            trusted = of_broker(data_dir, rabbitmq, SSL_CERT_FILE=str(authority.file))
            assert "certificate is not valid for '127.1'" in trusted
    finally:
        server.stop()


def test_settings_are_those_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAS_SWEEP_SECONDS", "7")
    shown: dict[str, Any] = configuration.configured()
    assert shown["CAS_SWEEP_SECONDS"] == "7"
    assert shown["CAS_SECRET_KEY"] == "********"
    assert "CAS_SEAL_SECONDS" not in shown
