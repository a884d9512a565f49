"""The scrub: what it finds, what it marks, and that it can be gone on with."""

import io
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from artifacts import scrub_findings, scrub_lease, scrubbing
from artifacts.block_hashes import HASHED_BLOCK
from artifacts.digests import Digest
from artifacts.exceptions import StorageError
from artifacts.models import Artifact, BlockHashes, Location, Scrub
from artifacts.rate_limit import RateLimit
from artifacts.scrub_findings import Finding, State
from artifacts.scrub_lease import LeaseLost, ScrubRunning, leased
from artifacts.scrubbing import Stopped, Watcher, scrub
from artifacts.storage import open_store
from artifacts.storage.filesystem import FileSystemStore
from tests.factories import digest_of

pytestmark = pytest.mark.django_db

CONTENTS = [b"first", b"second", b"third", b"fourth"]


def put(location: Location, content: bytes, **values: Any) -> Artifact:
    """Store and label it, as an upload does."""
    store(location, content)
    return label(location, content, **values)


def store(location: Location, content: bytes, digest: Digest | None = None) -> Path:
    digest = digest or digest_of(content)
    path = Path(location.options["location"], "sha256", digest.hex[:2], digest.hex)
    path.parent.mkdir(parents=True, exist_ok=True)
    replacement = path.with_suffix(".new")
    replacement.write_bytes(content)
    replacement.replace(path)
    return path


def label(location: Location, content: bytes, **values: Any) -> Artifact:
    defaults = {"location": location, "digest": digest_of(content).hex, "size_bytes": len(content)}
    return Artifact.objects.create(**{**defaults, **values})


def path_of(location: Location, content: bytes) -> Path:
    store = open_store(location)
    assert isinstance(store, FileSystemStore)
    return store.path_of(digest_of(content))


class Notes(Watcher):
    """Remembers the findings; `then` is called after each, `meanwhile` while bytes are read."""

    def __init__(
        self, then: Callable[[Finding], object] = lambda _: None, meanwhile: Callable[[int], object] = lambda _: None
    ) -> None:
        self.findings: list[Finding] = []
        self._then = then
        self._meanwhile = meanwhile

    def read(self, count: int) -> None:
        self._meanwhile(count)

    def done(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._then(finding)

    @property
    def states(self) -> dict[str, State]:
        return {finding.digest.hex: finding.state for finding in self.findings}


def run(location: Location, watcher: Watcher | None = None, **options: Any) -> Scrub:
    return scrub(location, limit=RateLimit(0), watcher=watcher or Watcher(), **options)


# What it finds


def test_sound_corrupt_missing_and_unlabelled_are_told_apart(location: Location) -> None:
    sound, corrupt, missing, unlabelled = CONTENTS
    put(location, sound)
    put(location, corrupt)
    path_of(location, corrupt).write_bytes(b"sEcond")
    label(location, missing)
    store(location, unlabelled)
    notes = Notes()
    done = run(location, notes)
    assert notes.states == {
        digest_of(sound).hex: State.SOUND,
        digest_of(corrupt).hex: State.CORRUPT,
        digest_of(missing).hex: State.MISSING,
        digest_of(unlabelled).hex: State.UNLABELLED,
    }
    assert [finding.digest.hex for finding in notes.findings] == sorted(notes.states)
    assert (done.checked, done.checked_bytes) == (3, len(sound) + len(corrupt) + len(unlabelled))
    assert (done.corrupt, done.missing, done.unlabelled, done.unreadable) == (1, 1, 1, 0)
    assert done.finished_at is not None
    assert Scrub.objects.get().lease is None
    rows = {row.digest: row for row in Artifact.objects.all()}
    assert rows[digest_of(sound).hex].verified_at is not None
    assert rows[digest_of(corrupt).hex].corrupt_at is not None
    assert rows[digest_of(corrupt).hex].verified_at is None
    assert rows[digest_of(missing).hex].missing_at is not None
    assert rows[digest_of(unlabelled).hex].size_bytes == len(unlabelled)
    assert rows[digest_of(unlabelled).hex].verified_at is not None


@pytest.mark.parametrize("damage", [b"", b"fir", b"first and more", b"FIRST"])
def test_every_kind_of_damage_is_found(location: Location, damage: bytes) -> None:
    put(location, b"first")
    path_of(location, b"first").write_bytes(damage)
    assert run(location).corrupt == 1


def test_damage_without_a_label_is_marked_too(location: Location) -> None:
    store(location, b"garbage", digest_of(b"first"))
    assert run(location).corrupt == 1
    assert Artifact.objects.get().corrupt_at is not None


def test_what_is_whole_again_is_unmarked(location: Location) -> None:
    then = timezone.now() - timedelta(days=1)
    put(location, b"first", missing_at=then)
    put(location, b"second", corrupt_at=then, size_bytes=1)
    assert run(location).checked == 2
    assert not Artifact.objects.exclude(corrupt_at=None, missing_at=None).exists()
    assert Artifact.objects.get(digest=digest_of(b"second").hex).size_bytes == 6


def test_first_time_that_it_was_found_stays(location: Location) -> None:
    then = timezone.now() - timedelta(days=1)
    label(location, b"first", missing_at=then)
    put(location, b"second", corrupt_at=then)
    path_of(location, b"second").write_bytes(b"x")
    run(location)
    assert Artifact.objects.get(digest=digest_of(b"first").hex).missing_at == then
    assert Artifact.objects.get(digest=digest_of(b"second").hex).corrupt_at == then


def test_block_hashes_are_recorded_where_they_are_missing_or_wrong(location: Location) -> None:
    content = os.urandom(2 * HASHED_BLOCK + 1)
    row = put(location, content)
    run(location)
    recorded = bytes(BlockHashes.objects.get(artifact=row).hashes)
    assert len(recorded) == 3 * 32
    BlockHashes.objects.update(hashes=b"x" * 96)
    run(location)
    assert bytes(BlockHashes.objects.get(artifact=row).hashes) == recorded


def test_empty_artifact_is_sound(location: Location) -> None:
    put(location, b"")
    assert run(location).checked == 1


def test_other_files_are_passed_over(location: Location, root: Path) -> None:
    (root / "sha256" / "aa").mkdir(parents=True)
    (root / "sha256" / "aa" / "README").write_text("hello")
    assert run(location).checked == 0


def test_labels_are_not_loaded_all_at_once(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "_PAGE", 2)
    for number in range(7):
        label(location, b"%d" % number)
    for number in range(5, 12):
        store(location, b"%d" % number)
    found = list(scrubbing.digests_of(open_store(location), location))
    assert [digest.hex for digest in found] == sorted(digest_of(b"%d" % number).hex for number in range(12))


# What changes while it is read


def test_artifact_healed_while_it_is_read_is_not_marked(location: Location) -> None:
    row = put(location, b"first")
    path_of(location, b"first").write_bytes(b"FIRST")

    def heal(count: int) -> None:
        if count:
            store(location, b"first")
            Artifact.objects.filter(pk=row.pk).update(created_at=timezone.now())

    notes = Notes(meanwhile=heal)
    run(location, notes)
    assert set(notes.states.values()) <= {State.SOUND, State.CHANGED, State.UNREADABLE}
    assert Artifact.objects.get().corrupt_at is None


def test_mark_is_lost_when_the_label_was_renewed(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    row = put(location, b"first")
    path_of(location, b"first").write_bytes(b"FIRST")
    record = scrub_findings.record

    def renew_first(location: Location, finding: Finding) -> Finding:
        Artifact.objects.filter(pk=row.pk).update(created_at=timezone.now())
        return record(location, finding)

    monkeypatch.setattr(scrub_findings, "record", renew_first)
    notes = Notes()
    assert run(location, notes).corrupt == 0
    assert notes.findings[0].state == State.CHANGED
    assert Artifact.objects.get().corrupt_at is None


def test_artifact_deleted_while_it_is_read_is_not_corrupt(location: Location) -> None:
    row = put(location, b"first")
    path = path_of(location, b"first")
    path.write_bytes(b"FIRST")

    def delete(count: int) -> None:
        path.unlink(missing_ok=True)
        Artifact.objects.filter(pk=row.pk).delete()

    notes = Notes(meanwhile=delete)
    done = run(location, notes)
    assert (done.corrupt, done.missing) == (0, 0)
    assert not Artifact.objects.exists()


def test_artifact_uploaded_while_it_looked_elsewhere_is_not_missing(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is labelled, and the listing was taken before its object was there."""
    put(location, b"first")
    monkeypatch.setattr(FileSystemStore, "digests", lambda *_: iter(()))
    assert run(location).missing == 0
    assert Artifact.objects.get().missing_at is None


# Storage that fails


def test_artifact_that_cannot_be_read_is_not_marked(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in CONTENTS:
        put(location, content)
    open_file = FileSystemStore.open

    def fail(store: FileSystemStore, digest: Digest, offset: int = 0) -> Any:
        if digest == digest_of(b"second"):
            raise StorageError
        return open_file(store, digest, offset)

    monkeypatch.setattr(FileSystemStore, "open", fail)
    done = run(location)
    assert (done.checked, done.unreadable, done.corrupt, done.missing) == (3, 1, 0, 0)
    assert not Artifact.objects.exclude(corrupt_at=None, missing_at=None).exists()


def test_transfer_that_breaks_off_is_not_corruption(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    put(location, b"first")
    monkeypatch.setattr(FileSystemStore, "open", lambda *_: io.BytesIO(b"fi"))
    done = run(location)
    assert (done.unreadable, done.corrupt) == (1, 0)


def test_storage_that_fails_altogether_ends_it_without_a_mark(location: Location, root: Path) -> None:
    for content in CONTENTS:
        put(location, content)
    with pytest.raises(StorageError):
        run(location, Notes(then=lambda _: root.exists() and root.rename(root.with_name("unmounted"))))
    unfinished = Scrub.objects.get()
    assert (unfinished.checked, unfinished.finished_at, unfinished.lease) == (1, None, None)
    assert not Artifact.objects.exclude(missing_at=None).exists()


def test_many_failures_in_a_row_end_it(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        put(location, b"%d" % number)

    def fail(*_: object) -> Any:
        raise StorageError

    monkeypatch.setattr(FileSystemStore, "open", fail)
    with pytest.raises(StorageError):
        run(location)
    assert Scrub.objects.get().unreadable < 10


# Going on


def test_stopped_pass_goes_on_after_what_is_done(location: Location) -> None:
    for content in CONTENTS:
        put(location, content)

    def stop(finding: Finding) -> None:
        raise Stopped

    first, second = Notes(then=stop), Notes()
    with pytest.raises(Stopped):
        run(location, first)
    assert Scrub.objects.get().after == first.findings[0].digest.hex
    done = run(location, second)
    assert len(first.findings) == 1
    assert [f.digest.hex for f in first.findings + second.findings] == sorted(digest_of(c).hex for c in CONTENTS)
    assert (done.checked, Scrub.objects.count()) == (4, 1)


def test_pass_stopped_in_the_middle_of_an_artifact_reads_it_again(location: Location) -> None:
    put(location, os.urandom(1_000_000))

    def stop(count: int) -> None:
        if count:
            raise Stopped

    with pytest.raises(Stopped):
        run(location, Notes(meanwhile=stop))
    assert Scrub.objects.get().after == ""
    assert run(location).checked == 1


def test_deadline_ends_it_between_two_artifacts(location: Location) -> None:
    for content in CONTENTS:
        put(location, content)
    assert run(location, deadline=time.monotonic()).checked == 1
    assert run(location, deadline=time.monotonic()).checked == 2
    assert run(location).finished_at is not None


def test_restart_begins_anew(location: Location) -> None:
    for content in CONTENTS:
        put(location, content)
    run(location, deadline=time.monotonic())
    done = run(location, restart=True)
    assert (done.checked, Scrub.objects.count()) == (4, 1)


def test_finished_pass_stays_beside_the_next(location: Location) -> None:
    run(location)
    run(location)
    assert Scrub.objects.filter(finished_at__isnull=False).count() == 2


# One at a time


def test_second_one_is_refused_while_the_first_works(location: Location) -> None:
    with leased(location), pytest.raises(ScrubRunning):
        run(location)
    with leased(location), pytest.raises(ScrubRunning):
        run(location, restart=True)
    assert run(location).finished_at is not None


def test_lease_of_a_dead_process_runs_out(location: Location) -> None:
    put(location, b"first")
    Scrub.objects.create(location=location, lease=uuid.uuid4(), leased_until=timezone.now() - timedelta(seconds=1))
    assert run(location).checked == 1


def test_who_lost_the_lease_writes_nothing_more(location: Location) -> None:
    row = put(location, b"first")
    path_of(location, b"first").write_bytes(b"x")

    def take_over(count: int) -> None:
        Scrub.objects.update(lease=uuid.uuid4())

    with pytest.raises(LeaseLost):
        run(location, Notes(meanwhile=take_over))
    row.refresh_from_db()
    assert row.corrupt_at is None
    assert Scrub.objects.get().lease is not None


def test_lease_is_renewed_while_a_large_artifact_is_read(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub_lease, "RENEW_SECONDS", 0)
    put(location, os.urandom(1_000_000))
    seen = set()
    run(location, Notes(meanwhile=lambda _: seen.add(Scrub.objects.get().leased_until)))
    assert len(seen) > 3


@pytest.mark.django_db(transaction=True)
def test_of_many_that_begin_at_once_one_works(location: Location) -> None:
    may_end = threading.Event()
    outcomes: list[Scrub | ScrubRunning] = []
    put(location, b"first")

    def begin() -> None:
        try:
            outcomes.append(run(location, Notes(then=lambda _: may_end.wait(30))))
        except ScrubRunning as error:
            outcomes.append(error)
            if sum(isinstance(outcome, ScrubRunning) for outcome in outcomes) == 5:
                may_end.set()
        finally:
            connection.close()

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Scrub) for outcome in outcomes) == 1
    assert Scrub.objects.count() == 1
