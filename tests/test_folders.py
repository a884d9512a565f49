"""Files that are there whole or not at all."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.folders import write_whole


@pytest.fixture
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
@pytest.mark.parametrize("is_synced", [True, False])
def test_nobody_but_its_owner_may_read_it(tmp_path: Path, is_synced: bool) -> None:
    path = tmp_path / "new" / "file.json"
    write_whole(path, "text", is_synced=is_synced)
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_one_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(tmp_path / "file.json", "text", is_synced=True)
    assert list(tmp_path.iterdir()) == []
