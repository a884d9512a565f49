"""No skip hides: CI has none for want of something, and others are told of at the end of the run."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import pytest_terminal_summary
from tests.wanting import skip_without


def test_what_is_wanting_fails_ci_and_is_told_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="a full disk"):
        skip_without("a full disk")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception) as skipped:
        skip_without("a full disk")
    told: list[str] = []
    reports = [SimpleNamespace(longrepr=("file", 1, f"Skipped: {why}")) for why in (skipped.value, "SQLite has none")]
    reporter: Any = SimpleNamespace(stats={"skipped": reports}, write_line=lambda line, **_: told.append(line))
    pytest_terminal_summary(reporter)
    assert told == ["*** NOT TESTED: a full disk"]


def test_nothing_is_skipped_while_it_runs_in_another_way() -> None:
    files = [path for path in Path(__file__).parent.rglob("*.py") if re.search(r"pytest\.skip\(", path.read_text())]
    assert [path.name for path in files] == ["wanting.py"]
