"""promtool, which Debian has in its package prometheus."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: "str | Path", stdin: bytes = b"") -> str:
    """Run it, and return what it says; fails the test when it finds fault. Skips where there is none, but for CI."""
    program = shutil.which("promtool")
    if program is None and os.environ.get("CI") == "true":
        pytest.fail("CI must test this: there is no promtool on PATH (Debian's package prometheus)")
    if program is None:
        pytest.skip("not installed: promtool (Debian's package prometheus)")
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
