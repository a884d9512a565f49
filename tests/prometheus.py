"""promtool, which Debian has in its package prometheus."""

import shutil
import subprocess
from pathlib import Path

from tests.wanting import skip_without


def promtool(*arguments: "str | Path", stdin: bytes = b"") -> str:
    """Run it, and return what it says; fails the test when it finds fault. Skips where there is none, but for CI."""
    program = shutil.which("promtool")
    if program is None:
        skip_without("promtool (Debian's package prometheus)")
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
