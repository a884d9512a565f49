"""Types, as `make lint` checks them; here, beside the other tests, they take no core of their own."""

import subprocess
import sys

from django.conf import settings


def test_types_are_sound() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "."], cwd=settings.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
