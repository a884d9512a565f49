"""Each way to be let in by a real NATS, for all of ours that connect; and that nothing is said in the open."""

import asyncio
import io
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import nats as nats_client
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import call_command
from nats.js.api import StreamConfig
from nats.js.errors import Error as JetStreamError
from pytest_django import Settings

from audit import nats_access, nkeys
from audit.answers import Ack
from audit.checks import check_nats_access
from audit.consumer import Consumer, StreamError
from audit.publisher import Message, Publisher, Unreachable
from tests.nats_servers import ACCOUNT, Authority, Operator, make_cluster, write_seed
from tests.servers import NatsServer, wait_until

SUBJECT = "audit.casartifact.casartifactuploaded"
SECONDS = 60

Configure = Callable[..., NatsServer]


@pytest.fixture
def serve(tmp_path: Path, settings: Settings) -> Iterator[Configure]:
    """Start a NATS with a configuration, and have NATS_URL point to it."""
    started: list[NatsServer] = []

    def start(configuration: str, scheme: str = "nats") -> NatsServer:
        (tmp_path / "nats.conf").write_text(configuration)
        server = NatsServer(tmp_path / "nats", "-c", str(tmp_path / "nats.conf"))
        server.start()
        started.append(server)
        settings.NATS_URL = server.url.replace("nats", scheme, 1)
        return server

    yield start
    for server in started:
        server.stop()


def publish_one(url: str) -> object:
    publisher = Publisher(url)
    try:
        (outcome,) = publisher.publish([Message(SUBJECT, "{}", str(uuid.uuid4()))])
    finally:
        publisher.close()
    return outcome


def all_of_ours_get_in(settings: Settings) -> None:
    assert check_nats_access() == []
    call_command("audit_stream", "create", stdout=io.StringIO())
    assert publish_one(settings.NATS_URL) == Ack(1)
    with Consumer(name="reader") as consumer:
        assert [message.subject for message in consumer.read()] == [SUBJECT]
    shown = io.StringIO()
    call_command("audit_stream", "read", stdout=shown)
    assert SUBJECT in shown.getvalue()


# The server says so and hangs up at once: the second may overtake the first.
_REFUSED = "Authorization Violation|Connection reset by peer"


def none_gets_in(settings: Settings, reason: str = _REFUSED) -> None:
    with pytest.raises(Unreachable, match=reason):
        publish_one(settings.NATS_URL)


def test_user_and_password(serve: Configure, settings: Settings) -> None:
    serve("authorization { user: cas, password: 'p/?#@:,w' }")
    settings.NATS_USER, settings.NATS_PASSWORD = "cas", "wrong"
    none_gets_in(settings)
    settings.NATS_PASSWORD = "p/?#@:,w"
    all_of_ours_get_in(settings)


def test_token(serve: Configure, settings: Settings) -> None:
    serve("authorization { token: 'a/?#@:,t' }")
    settings.NATS_TOKEN = "wrong"
    none_gets_in(settings)
    settings.NATS_TOKEN = "a/?#@:,t"
    all_of_ours_get_in(settings)


def test_nkey(serve: Configure, settings: Settings, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    serve(f"authorization {{ users: [ {{ nkey: {nkeys.public_nkey(key)} }} ] }}")
    settings.NATS_NKEY = str(tmp_path / "seed")
    (tmp_path / "seed").write_text(write_seed(Ed25519PrivateKey.generate()))
    none_gets_in(settings)
    (tmp_path / "seed").write_text(write_seed(key) + "\n")
    all_of_ours_get_in(settings)


def test_credentials_of_an_operators_user(serve: Configure, settings: Settings, tmp_path: Path) -> None:
    operator = Operator.make()
    serve(operator.configuration)
    settings.NATS_CREDS = str(tmp_path / "user.creds")
    (tmp_path / "user.creds").write_text(Operator.make().credentials())
    none_gets_in(settings)
    (tmp_path / "user.creds").write_text(operator.credentials())
    all_of_ours_get_in(settings)


def test_credentials_that_are_renewed_count_from_the_next_connection_on(
    serve: Configure, settings: Settings, tmp_path: Path
) -> None:
    operator = Operator.make()
    serve(operator.configuration)
    settings.NATS_CREDS = str(tmp_path / "user.creds")
    (tmp_path / "user.creds").write_text(Operator.make().credentials())
    publisher = Publisher(settings.NATS_URL)
    try:
        with pytest.raises(Unreachable):
            publisher.connect()
        (tmp_path / "user.creds").write_text(operator.credentials())
        publisher.connect()
    finally:
        publisher.close()


def test_server_that_our_authority_signed(serve: Configure, settings: Settings, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    serve(f"tls {{ cert_file: '{certificate}', key_file: '{key}' }}", "tls")
    none_gets_in(settings, "certificate verify failed")  # the system knows no such authority
    settings.NATS_CA = str(Authority(tmp_path, "other").file)
    none_gets_in(settings, "certificate verify failed")
    settings.NATS_CA = str(authority.file)
    all_of_ours_get_in(settings)


def test_certificate_that_we_present(serve: Configure, settings: Settings, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    serve(f"tls {{ cert_file: '{certificate}', key_file: '{key}', ca_file: '{authority.file}', verify: true }}")
    settings.NATS_CA = str(authority.file)
    none_gets_in(settings, "(?i)certificate required|connection|broken pipe")
    settings.NATS_CERT, settings.NATS_KEY = map(str, authority.issue("client"))
    all_of_ours_get_in(settings)


@pytest.mark.parametrize("scheme", ["tls", "nats"])
def test_password_is_not_sent_in_the_open_where_tls_is_demanded(
    serve: Configure, settings: Settings, tmp_path: Path, scheme: str
) -> None:
    serve("authorization { user: cas, password: secret }", scheme)
    settings.NATS_USER, settings.NATS_PASSWORD = "cas", "secret"
    settings.NATS_CA = str(Authority(tmp_path).file) if scheme == "nats" else ""
    none_gets_in(settings, "TLS is configured, and the server does not require it")


def test_cluster_loses_a_server_while_events_are_published(tmp_path: Path, settings: Settings) -> None:
    cluster = make_cluster(tmp_path)
    for server in cluster:
        server.start()
    settings.NATS_URL = ",".join(server.url for server in cluster)
    wait_until(lambda: asyncio.run(_makes_a_stream(cluster[0].url)), SECONDS, "the cluster takes a stream")
    ids = [str(uuid.uuid4()) for _ in range(2000)]
    missing = dict.fromkeys(ids)
    found: list[str] = []
    publisher = Publisher(settings.NATS_URL)
    publisher.connect()
    assert publisher._client is not None
    ours = next(server for server in cluster if str(server.port) in str(publisher._client.connected_url))
    killing = threading.Timer(0.3, ours.stop)
    killing.start()
    try:
        while missing or killing.is_alive():
            batch = [Message(SUBJECT, "{}", each) for each in list(missing or ids)[:20]]
            try:
                outcomes = publisher.publish(batch)
            except Unreachable:
                continue
            for message, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Ack):
                    missing.pop(message.message_id, None)
        # Two of three agree on a leader before any answers for the stream, and it may pause between messages.
        wait_until(
            lambda: _can_read(found) and len(found) >= len(ids),
            SECONDS,
            "what is left of the cluster gives its messages",
        )
    finally:
        killing.join()
        publisher.close()
        for server in cluster:
            server.stop()
    assert sorted(found) == sorted(ids)


def _can_read(found: list[str]) -> bool:
    found.clear()
    try:
        with Consumer() as consumer:
            while messages := consumer.read(1):
                found += [message.message_id for message in messages]
    except StreamError:
        return False
    return True


async def _makes_a_stream(url: str) -> bool:
    async with await nats_client.connect(url) as client:
        try:
            config = StreamConfig(name="chainloop-audit", subjects=["audit.>"], num_replicas=3)
            await client.jetstream().add_stream(config)
        except (JetStreamError, TimeoutError):
            return False
    return True


@pytest.mark.parametrize(
    ("values", "ids", "words"),
    [
        (
            {"NATS_CREDS": "missing"},
            ["audit.E006"],
            "NATS_CREDS: {}/missing cannot be read: No such file",
        ),
        ({"NATS_CREDS": "text"}, ["audit.E006"], "NATS_CREDS: {}/text holds no JWT and seed of a user"),
        ({"NATS_NKEY": "text"}, ["audit.E006"], "NATS_NKEY: {}/text holds no seed of a user's NKEY."),
        ({"NATS_NKEY": "account"}, ["audit.E006"], "holds no seed of a user's NKEY."),
        ({"NATS_CA": "missing"}, ["audit.E006"], "NATS_CA: {}/missing"),
        ({"NATS_CA": "text"}, ["audit.E006"], "NATS_CA: {}/text holds no certificate in PEM."),
        ({"NATS_CERT": "text"}, ["audit.E006"], "NATS_CERT, NATS_KEY: {}/text and its key are no pair in PEM"),
        ({"NATS_CERT": "missing"}, ["audit.E006"], "NATS_CERT, NATS_KEY: {}/missing"),
        ({"NATS_USER": "cas"}, ["audit.E007"], "NATS_USER is set without NATS_PASSWORD."),
        ({"NATS_PASSWORD": "hunter2"}, ["audit.E007"], "NATS_PASSWORD is set without NATS_USER."),
        ({"NATS_TOKEN": "hunter2", "NATS_NKEY": "user"}, ["audit.E007"], "NATS_TOKEN and NATS_NKEY are set."),
        ({"NATS_NKEY": "user"}, [], ""),
    ],
)
def test_what_cannot_be_used_is_told_before_the_start(
    values: dict[str, str], ids: list[str], words: str, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "text").write_text("hunter2")
    (tmp_path / "account").write_text(write_seed(Ed25519PrivateKey.generate(), ACCOUNT))
    (tmp_path / "user").write_text(write_seed(Ed25519PrivateKey.generate()))
    settings.NATS_URL = "nats://127.0.0.1:1"
    for name, value in values.items():
        is_file = name not in {"NATS_USER", "NATS_PASSWORD", "NATS_TOKEN"}
        setattr(settings, name, str(tmp_path / value) if is_file else value)
    found = check_nats_access()
    assert [message.id for message in found] == ids
    assert words.format(tmp_path) in "".join(message.msg for message in found)
    assert "hunter2" not in str(found)


def test_nkey_is_the_one_that_others_make_of_the_same_seed() -> None:
    """The pair of the documentation: https://docs.nats.io/using-nats/developer/connecting/nkey."""
    key = nkeys.read_seed("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY")
    assert nkeys.public_nkey(key) == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    assert write_seed(key) == "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"


def test_spaces_between_addresses_do_no_harm() -> None:
    assert nats_access.configured("nats://a:1, nats://b:2").servers == ["nats://a:1", "nats://b:2"]
