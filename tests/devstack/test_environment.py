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


def test_sbom_names_what_is_installed() -> None:
    sbom = make_sbom()
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert any(component["purl"].startswith("pkg:pypi/django@5.2.") for component in sbom["components"])
