"""What touches the trail, tested once more on PostgreSQL, together with what only PostgreSQL can do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

HERE = Path(__file__).parent
MODULES = ["test_outbox", "test_journal", "test_models", "test_receivers", "test_lost_connection", "test_tasks"]


@pytest.mark.skipif(connection.vendor == "postgresql", reason="this run is on PostgreSQL already")
def test_trail_and_outbox_work_on_postgresql(postgres_url: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--verbose", "-p", "no:cacheprovider", "-p", "no:cov"),
            *(HERE / f"{name}.py" for name in MODULES),
        ],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": postgres_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # These say nothing on SQLite, where they are skipped.
    for name in ("locked_row_is_skipped_rather_than_waited_for", "ends_the_connection_under_an_upload"):
        assert re.search(rf"{name}\S* PASSED", done.stdout), done.stdout
