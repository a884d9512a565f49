"""`make run`: the whole stack on one machine, under one process runner, until Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from io import StringIO
from pathlib import Path

import django
from django.core.management import CommandError, call_command
from django.db import connections
from honcho.environ import parse_procfile
from honcho.manager import Manager

from devstack.environment import ADMIN, PROJECT, Stack

READY_SECONDS = 60
TOKEN_HOURS = 12


def main() -> None:
    """Prepare what is missing, start everything, print how to use it, and stop it all together."""
    stack = Stack.from_environment()
    stack.refuse_taken_ports()
    stack.prepare()
    os.environ["DJANGO_SETTINGS_MODULE"] = "casproject.settings"
    os.environ["CAS_PORT"] = str(stack.port)
    django.setup()
    prepare_database(stack)
    connections.close_all()  # the processes below are forked

    manager = Manager()
    for name, command in commands(stack).items():
        manager.add_process(name, command, env=process_environment(), cwd=str(PROJECT))
    threading.Thread(target=announce, args=(stack,), daemon=True).start()
    manager.loop()
    # Stopping it on purpose is no failure.
    sys.exit(0 if manager.returncode in {128 + signal.SIGINT, 128 + signal.SIGTERM} else manager.returncode)


def prepare_database(stack: Stack) -> None:
    """Migrate; make the admin user and the default location unless they exist."""
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User  # noqa: PLC0415  (needs the apps loaded)

    from artifacts.models import Location  # noqa: PLC0415  (as above)

    if not User.objects.filter(username=ADMIN).exists():
        User.objects.create_superuser(ADMIN, password=os.environ["CAS_ADMIN_PASSWORD"])
    if not Location.objects.filter(backend="FILESYSTEM", name="default").exists():
        call_command("create_location", "default", folder=str(stack.data_dir / "artifacts"), stdout=StringIO())


def commands(stack: Stack) -> dict[str, str]:
    """The processes: those of the Procfile, and the NATS that elsewhere somebody else runs."""
    nats = f'exec nats-server -T=false -js -sd "$CAS_DATA_DIR/nats" -a 127.0.0.1 -p {stack.nats_port}'
    return {"nats": nats, **parse_procfile((PROJECT / "Procfile").read_text()).processes}


def process_environment() -> dict[str, str]:
    """This environment, with the virtual environment's commands first on PATH and unbuffered output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def announce(stack: Stack) -> None:
    """Create the stream as its operator would, and once the stack is ready say how to use it."""
    if _within(READY_SECONDS, _create_stream) and _within(READY_SECONDS, stack.is_ready):
        print(welcome(stack), flush=True)
    else:
        print("The stack did not become ready; its log above says why.", flush=True)


def welcome(stack: Stack) -> str:
    """Addresses, login, and commands to paste."""
    readme = PROJECT / "README.md"
    artifact = f"{stack.url}/artifacts/sha256:{sha256(readme.read_bytes()).hexdigest()}"
    upload, download = (f"-H 'Authorization: Bearer {_mint(role)}'" for role in ("uploader", "downloader"))
    return f"""
Artifact CAS is running. Ctrl-C stops it; its state stays in {stack.data_dir}.

  Admin  {stack.url}/admin/  user {ADMIN}, password {os.environ["CAS_ADMIN_PASSWORD"]}
  NATS   {stack.nats_url}  stream chainloop-audit

Upload a file, and download it again (these tokens last {TOKEN_HOURS} h; `manage.py mint_token` makes others):

curl -w '\\n' -T {readme} {upload} '{artifact}?filename=README.md'

curl -o /tmp/README.md {download} {artifact}
"""


def _mint(role: str) -> str:
    token = StringIO()
    call_command("mint_token", role=role, expires_in=TOKEN_HOURS * 3600, stdout=token)
    return token.getvalue().strip()


def _create_stream() -> bool:
    try:
        call_command("audit_stream", "create", stdout=StringIO())
    except CommandError:
        return False
    return True


def _within(seconds: float, attempt: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
