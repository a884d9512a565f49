"""The README's commands, on a folder and ports of their own."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devstack.environment import PROJECT
from tests.servers import BIN, accepts, free_port, wait_until

SECONDS = 180


class DevelopmentStack:
    """`make run`, less the installing: this virtual environment has everything already."""

    def __init__(self, folder: Path) -> None:
        self.port, self.nats_port = free_port(), free_port()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CAS_", "NATS_"))}
        self.environment = {
            **inherited,
            "CAS_DATA_DIR": str(folder / "var"),
            "CAS_PORT": str(self.port),
            "CAS_NATS_PORT": str(self.nats_port),
            "PYTHONWARNINGS": "ignore",
        }
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [BIN / "python", "-m", "devstack"],
                cwd=PROJECT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: "Artifact CAS is running" in self.output, SECONDS, "the stack says that it runs")

    def interrupt(self) -> int:
        """Ctrl-C: the terminal sends SIGINT to the whole process group. Returns the exit status."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)
        status = self._process.wait(SECONDS)
        self._process = None
        return status

    def close(self) -> None:
        if self._process is not None:
            self.interrupt()

    def run(self, *command: str, seconds: float = SECONDS) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False, timeout=seconds
        )


@pytest.fixture
def devstack(tmp_path: Path) -> Iterator[DevelopmentStack]:
    stack = DevelopmentStack(tmp_path)
    yield stack
    stack.close()


def test_run_prints_what_works_stops_cleanly_and_finds_everything_again(
    devstack: DevelopmentStack, tmp_path: Path
) -> None:
    devstack.start()
    wait_until(lambda: re.search("maintenance .* ready", devstack.output), SECONDS, "the maintenance worker is ready")
    upload, download = re.findall(r"^curl .*$", devstack.output, re.MULTILINE)
    readme = (PROJECT / "README.md").read_bytes()

    first = devstack.run("bash", "-c", upload)
    assert first.stdout.endswith('"skipped":false}\n'), first
    devstack.run("bash", "-c", into(tmp_path / "copy", download))
    assert (tmp_path / "copy").read_bytes() == readme
    wait_until(lambda: len(stream(devstack)) == 2, SECONDS, "both events are in the stream")
    assert_login_works(devstack)

    assert devstack.interrupt() == 0
    assert not accepts(devstack.port)
    assert not accepts(devstack.nats_port)

    password = re.search(r"password (\S+)", devstack.output)
    devstack.start()
    assert password is not None
    assert password[0] in devstack.output
    second = devstack.run("bash", "-c", upload)
    assert '"skipped":true' in second.stdout, second
    wait_until(lambda: len(stream(devstack)) == 3, SECONDS, "the new event follows the old ones")
    assert_trail_verifies_against_the_stream(devstack, tmp_path / "stream")


def test_commands_of_the_readme_answer_as_it_says(devstack: DevelopmentStack, tmp_path: Path) -> None:
    devstack.start()
    page = (PROJECT / "README.md").read_text().partition("## Upload and download")[2]
    commands = re.findall(r"```\n(UPLOADER=.*?)```", page, re.DOTALL)[0]
    commands = commands.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{devstack.port}")
    commands = into(tmp_path / "copy", commands.replace(".venv/bin/python", str(BIN / "python")))
    answer, event = (json.loads(sample) for sample in re.findall(r"```json\n(.*?)```", page, re.DOTALL))

    uploaded = json.loads(devstack.run("bash", "-ec", commands).stdout)
    assert (tmp_path / "copy").read_bytes() == (PROJECT / "Makefile").read_bytes()
    assert shape(uploaded) == shape(answer)
    assert (uploaded["file_name"], uploaded["skipped"]) == (answer["file_name"], answer["skipped"])

    wait_until(lambda: len(stream(devstack)) == 2, SECONDS, "both events are in the stream")
    printed = json.loads(stream(devstack)[0])
    assert list(printed) == ["sequence", "subject", "id", "event"]
    assert shape(printed["event"]) == shape(event)


def into(path: Path, commands: str) -> str:
    """The commands, with another file to download to."""
    return re.sub(r"curl -o \S+", f"curl -o {path}", commands)


def shape(value: Any) -> Any:
    """The keys of an object and of those in it, in order."""
    return [(name, shape(member)) for name, member in value.items()] if isinstance(value, dict) else None


def stream(devstack: DevelopmentStack) -> list[str]:
    """What is in the stream of transfers; checkpoints of the trail come in between."""
    lines = devstack.run(str(BIN / "python"), "manage.py", "audit_stream", "read").stdout.splitlines()
    return [line for line in lines if "audit.casartifact." in line]


def assert_trail_verifies_against_the_stream(devstack: DevelopmentStack, copy: Path) -> None:
    manage = (str(BIN / "python"), "manage.py")

    def checkpoint_is_published() -> bool:
        copy.write_text(devstack.run(*manage, "audit_stream", "read").stdout)
        return "CASTrailCheckpointed" in copy.read_text()

    wait_until(checkpoint_is_published, SECONDS, "a checkpoint is in the stream")
    key = Path(devstack.environment["CAS_DATA_DIR"]) / "keys" / "checkpoint-public.pem"
    done = devstack.run(*manage, "verify_trail", "--public-key", str(key), "--checkpoint", str(copy))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checkpoints that were given are in the trail" in done.stdout


def assert_login_works(devstack: DevelopmentStack) -> None:
    found = re.search(r"Admin  (\S+)  user (\S+), password (\S+)", devstack.output)
    assert found is not None
    address, user, password = found.groups()
    with requests.Session() as browser:
        browser.get(f"{address}login/", timeout=SECONDS)
        form = {"username": user, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        page = browser.post(f"{address}login/?next=/admin/audit/auditevent/", form, timeout=SECONDS)
    assert page.ok
    assert "README.md" in page.text


def test_demo_ends_with_the_stream_and_the_client_agreeing(devstack: DevelopmentStack) -> None:
    devstack.start()
    demo = devstack.run(str(BIN / "python"), "-m", "devstack.demo", seconds=300)
    assert demo.returncode == 0, demo.stderr
    assert "What JetStream tells is what this client did." in demo.stdout
    assert "268,435,456" in demo.stdout


def test_demo_without_a_stack_says_what_to_do(devstack: DevelopmentStack) -> None:
    demo = devstack.run(str(BIN / "python"), "-m", "devstack.demo")
    assert demo.returncode == 1
    assert "make run" in demo.stderr


@pytest.mark.parametrize("variable", ["CAS_PORT", "CAS_NATS_PORT"])
def test_taken_port_is_named_with_a_way_out(devstack: DevelopmentStack, variable: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        devstack.environment[variable] = str(port)
        done = devstack.run(str(BIN / "python"), "-m", "devstack")
    assert done.returncode == 1
    assert f"Port {port} is taken. Free it, or choose another: {variable}={port + 1} make run" in done.stderr


@pytest.mark.parametrize("value", ["http", "0", "70000"])
def test_port_that_is_none_is_refused(devstack: DevelopmentStack, value: str) -> None:
    devstack.environment["CAS_PORT"] = value
    done = devstack.run(str(BIN / "python"), "-m", "devstack")
    assert done.returncode == 1
    assert f"CAS_PORT must be a port number, not '{value}'." in done.stderr
