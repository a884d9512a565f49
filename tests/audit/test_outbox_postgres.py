"""The tests of both apps once more on PostgreSQL, together with what only PostgreSQL can do."""

import os
import re
import subprocess
import sys

import pytest
from django.conf import settings
from django.db import connection

from tests.servers import PORTS_FROM

OPTIONS = "-m pytest --verbose -p no:cacheprovider -p no:cov -p tests.only_database"
SUITES = "tests/audit tests/artifacts tests/test_group_commit.py tests/test_prepared.py"
# What they find in storages, a database has no part in.
IGNORED = [f"--ignore-glob=tests/artifacts/test_{name}.py" for name in ("*_store*", "storage_*", "hostile_disk")]


@pytest.mark.skipif(connection.vendor == "postgresql", reason="this run is on PostgreSQL already")
def test_everything_that_uses_the_database_works_on_postgresql(postgres_url: str) -> None:
    done = subprocess.run(
        [sys.executable, *OPTIONS.split(), *SUITES.split(), *IGNORED],
        cwd=settings.BASE_DIR,
        # It has the name of one of our workers; it must not take the same ports.
        env={**os.environ, "DATABASE_URL": postgres_url, PORTS_FROM: "20000"},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # These say nothing on SQLite, where they are skipped.
    for name in (
        "locked_row_is_skipped_rather_than_waited_for",
        "ends_the_connection_under_an_upload",
        "ends_the_connection_after_a_download",
    ):
        assert re.search(rf"{name}\S* PASSED", done.stdout), done.stdout
