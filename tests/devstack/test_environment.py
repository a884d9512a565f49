"""What `make run` prepares; that it runs is tests/functional/test_devstack.py."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from devstack.demo import make_sbom
from devstack.environment import PROJECT, Stack
from tests.servers import free_port


@pytest.fixture(autouse=True)
def _environment_of_its_own() -> Iterator[None]:
    with patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith(("CAS_", "NATS_", "DJANGO_"))]:
            del os.environ[name]
        yield


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "var", port=8000, nats_port=4222)


def test_defaults_are_those_of_the_readme() -> None:
    assert Stack.from_environment() == Stack(PROJECT / "var", 8000, 4222)


def test_variables_move_it(tmp_path: Path) -> None:
    os.environ.update(CAS_DATA_DIR=str(tmp_path), CAS_PORT="9000", CAS_NATS_PORT="9001")
    stack = Stack.from_environment()
    assert stack == Stack(tmp_path, 9000, 9001)
    assert (stack.url, stack.nats_url) == ("http://127.0.0.1:9000", "nats://127.0.0.1:9001")


@pytest.mark.parametrize("value", ["-1", "0", "65536", "http", "80 "])
def test_port_that_is_none_ends_it(value: str) -> None:
    os.environ["CAS_PORT"] = value
    with pytest.raises(SystemExit, match="CAS_PORT must be a port number"):
        Stack.from_environment()


def test_taken_port_ends_it_with_a_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"CAS_NATS_PORT={port + 1} make run"):
            Stack(tmp_path, port=0, nats_port=port).refuse_taken_ports()


def test_taken_web_port_ends_it_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"Port {port} is taken.*CAS_PORT={port + 1} make run"):
            Stack(tmp_path, port=port, nats_port=0).refuse_taken_ports()


def test_free_ports_are_taken_by_nobody_afterwards(tmp_path: Path) -> None:
    stack = Stack(tmp_path, free_port(), free_port())
    stack.refuse_taken_ports()
    stack.refuse_taken_ports()
    for port in (stack.port, stack.nats_port):
        socket.create_server(("127.0.0.1", port)).close()


def test_port_that_was_just_left_is_free(tmp_path: Path) -> None:
    """A stack that is stopped and started at once finds its old connections waiting, and not a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # the server closes first, so the wait is on its side
    Stack(tmp_path, port=port, nats_port=0).refuse_taken_ports()


@pytest.mark.parametrize("value", ["-1", "0", "65536", "http", "80 "])
def test_nats_port_that_is_none_ends_it(value: str) -> None:
    os.environ["CAS_NATS_PORT"] = value
    with pytest.raises(SystemExit, match="CAS_NATS_PORT must be a port number"):
        Stack.from_environment()


def test_empty_variables_are_the_defaults() -> None:
    os.environ.update(CAS_DATA_DIR="", CAS_PORT="", CAS_NATS_PORT="")
    assert Stack.from_environment() == Stack(PROJECT / "var", 8000, 4222)


def test_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.environ["CAS_DATA_DIR"] = "here"
    assert Stack.from_environment().data_dir == tmp_path / "here"


def test_secrets_are_made_once_and_are_the_owners_alone(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.prepare()
    first = stack.env_file.read_text()
    assert stat.S_IMODE(stack.env_file.stat().st_mode) == 0o600
    assert (stack.data_dir / "keys" / "token-private.pem").exists()
    stack.prepare()
    assert stack.env_file.read_text() == first
    assert capsys.readouterr().out.count("Making development keys") == 1


def test_addresses_are_those_of_this_run(stack: Stack) -> None:
    stack.prepare()
    moved = Stack(stack.data_dir, port=8000, nats_port=5222)
    moved.prepare()
    assert moved.env_file.read_text().splitlines()[-1] == "NATS_URL=nats://127.0.0.1:5222"
    assert moved.env_file.read_text().count("NATS_URL") == 1


def test_prepared_environment_is_that_of_the_file(stack: Stack) -> None:
    stack.prepare()
    written = dict(line.split("=", 1) for line in stack.env_file.read_text().splitlines() if not line.startswith("#"))
    assert {name: os.environ[name] for name in written} == written
    assert set(written) == {
        *("CAS_TOKEN_KEYS", "CAS_SECRET_KEY", "CAS_CREDENTIAL_KEYS", "CAS_SECURE_COOKIES", "CAS_STORAGE_HOSTS"),
        *("CAS_ADMIN_USER", "CAS_ADMIN_PASSWORD", "CAS_CHECKPOINT_KEY", "NATS_URL"),
    }
    assert os.environ["CAS_DATA_DIR"] == str(stack.data_dir)
    assert Path(written["CAS_TOKEN_KEYS"]).exists()
    assert Path(written["CAS_CHECKPOINT_KEY"]).exists()


def test_what_a_developer_set_wins(stack: Stack) -> None:
    os.environ["CAS_ADMIN_PASSWORD"] = "mine"
    stack.prepare()
    assert os.environ["CAS_ADMIN_PASSWORD"] == "mine"
    assert "mine" not in stack.env_file.read_text()


def test_what_was_added_to_the_file_by_hand_stays(stack: Stack) -> None:
    stack.prepare()
    with stack.env_file.open("a") as file:
        file.write("CAS_LOG_LEVEL=DEBUG\n")
    stack.prepare()
    assert "CAS_LOG_LEVEL=DEBUG" in stack.env_file.read_text().splitlines()
    assert os.environ["CAS_LOG_LEVEL"] == "DEBUG"


def test_each_stack_has_secrets_of_its_own(stack: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path / "other", port=8000, nats_port=4222)
    for prepared in (stack, other):
        with patch.dict(os.environ):
            prepared.prepare()
    shared = set(stack.env_file.read_text().splitlines()) & set(other.env_file.read_text().splitlines())
    assert {line.split("=")[0] for line in shared if not line.startswith("#")} == {
        *("CAS_SECURE_COOKIES", "CAS_STORAGE_HOSTS", "CAS_ADMIN_USER", "NATS_URL")
    }


def test_start_that_was_broken_off_between_keys_and_file_is_made_good(stack: Stack) -> None:
    stack.prepare()
    key = (stack.data_dir / "keys" / "token-private.pem").read_bytes()
    stack.env_file.unlink()
    del os.environ["CAS_TOKEN_KEYS"]
    stack.prepare()
    assert (stack.data_dir / "keys" / "token-private.pem").read_bytes() == key
    assert Path(os.environ["CAS_TOKEN_KEYS"]).exists()
    assert "CAS_TOKEN_KEYS=" in stack.env_file.read_text()


def test_leftover_of_a_broken_off_start_does_not_open_the_secrets_to_others(stack: Stack) -> None:
    stack.data_dir.mkdir()
    stack.env_file.with_suffix(".new").touch(mode=0o644)
    stack.prepare()
    assert stat.S_IMODE(stack.env_file.stat().st_mode) == 0o600


def test_sbom_names_what_is_installed() -> None:
    sbom = make_sbom()
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert any(component["purl"].startswith("pkg:pypi/django@5.2.") for component in sbom["components"])


def test_stack_of_before_checkpoints_gets_a_key_for_them(stack: Stack) -> None:
    stack.prepare()
    written = stack.env_file.read_text().splitlines()
    key = next(line for line in written if line.startswith("CAS_CHECKPOINT_KEY="))
    stack.env_file.write_text("\n".join(line for line in written if line != key))
    stack.prepare()
    assert stack.env_file.read_text().splitlines().count(key) == 1
