"""The stream is somebody else's: the server and the worker only publish."""

import re
from pathlib import Path

from django.conf import settings

MANAGES = re.compile(r"\b(add|update|delete|purge)_(stream|consumer)\b|\bstream_info\(|\$JS\.API")
ALLOWED = {Path("audit/management/commands/audit_stream.py")}


def test_no_code_of_server_or_worker_touches_a_stream() -> None:
    project = Path(settings.BASE_DIR)
    sources = [path for app in ("artifacts", "audit", "casproject") for path in (project / app).rglob("*.py")]
    touching = {path.relative_to(project) for path in sources if MANAGES.search(path.read_text())}
    assert touching == ALLOWED
