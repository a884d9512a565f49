"""What the running stack tells of itself, over all its processes."""

import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from casproject.observability.sharing import INTERVAL
from tests.casproject.observability.test_scrape import values
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.prometheus import promtool
from tests.servers import wait_until

Shown = dict[str, float]
TRANSFERS = 'cas_transfers_total{{action="{}",location_kind="FILESYSTEM",result="{}"}}'


def scrape(stack: LiveStack) -> str:
    answer = requests.get(f"{stack.url}/metrics", timeout=SECONDS)
    assert answer.status_code == 200
    return answer.text


def shown(stack: LiveStack) -> Shown:
    return values(scrape(stack))


@pytest.fixture
def grown(stack: LiveStack) -> Callable[[str], float]:
    """How much a figure has grown since the test began, and what came before it was shared."""

    def transfers() -> dict[str, float]:
        return {name: value for name, value in shown(stack).items() if name.startswith("cas_transfers_total")}

    def is_settled() -> bool:
        earlier = transfers()
        time.sleep(2 * INTERVAL)
        return transfers() == earlier

    wait_until(is_settled, SECONDS, "earlier tests' transfers have been shared")
    before = shown(stack)
    return lambda name: shown(stack).get(name, 0) - before.get(name, 0)


def test_transfers_of_all_processes_are_counted_once(
    stack: LiveStack, tenant: Tenant, grown: Callable[[str], float]
) -> None:
    contents = [uuid.uuid4().bytes * 100 for _ in range(20)]
    for content in contents:
        assert tenant.put(content).status_code == 201
        assert tenant.put(content).status_code == 200
        assert tenant.get(content, Range="bytes=0-599").status_code == 206
        assert tenant.get(uuid.uuid4().bytes).status_code == 404

    parts = [("upload", "stored"), ("upload", "deduplicated"), ("download", "served"), ("download", "refused")]
    names = [TRANSFERS.format(*part) for part in parts]
    wait_until(lambda: min(map(grown, names)) >= 20, SECONDS, "all processes have shared their metrics")
    assert [grown(name) for name in names] == [20] * 4
    for kind, expected in (("uploaded", 32_000), ("deduplicated", 32_000), ("downloaded", 12_000)):
        assert grown(f'cas_{kind}_bytes_total{{location_kind="FILESYSTEM"}}') == expected
    assert grown('cas_transfer_duration_seconds_count{action="upload"}') == 40
    assert grown('cas_problems_total{code="artifact_not_found"}') == 20
    assert grown('cas_http_responses_total{part="artifacts",status="2xx"}') == 60
    wait_until(lambda: grown('cas_publish_results_total{result="acked"}') >= 60, SECONDS, "the worker's are there too")


def test_promtool_finds_no_fault_in_what_the_stack_shows(stack: LiveStack) -> None:
    assert promtool("check", "metrics", stdin=scrape(stack).encode()) == ""


def test_client_that_leaves_is_counted_as_such(stack: LiveStack, tenant: Tenant, grown: Callable[[str], float]) -> None:
    content = uuid.uuid4().bytes * 4_000_000
    assert tenant.put(content).ok
    download = tenant.open_download(content)
    assert download.answer().status == 200
    wait_until(lambda: shown(stack)["cas_transfers_in_progress"] == 1, SECONDS, "it is under way")
    download.leave()
    wait_until(lambda: grown(TRANSFERS.format("download", "aborted")) == 1, SECONDS, "it was given up")
    wait_until(lambda: shown(stack)["cas_transfers_in_progress"] == 0, SECONDS, "its slot is free")


def test_damage_that_is_found_on_the_way_is_counted(
    stack: LiveStack, tenant: Tenant, grown: Callable[[str], float]
) -> None:
    content = uuid.uuid4().bytes * 250_000
    assert tenant.put(content).ok
    with stack.path_of(content).open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"damaged")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        tenant.get(content)
    wait_until(lambda: grown(TRANSFERS.format("download", "failed")) == 1, SECONDS, "it has failed")
    assert grown('cas_problems_total{code="artifact_corrupt"}') == 1


def test_nothing_goes_down_when_processes_end(stack: LiveStack, tenant: Tenant) -> None:
    stored = TRANSFERS.format("upload", "stored")
    for number in range(10):
        assert tenant.put(uuid.uuid4().bytes).ok, number
    before = shown(stack)[stored]
    stack.end("web")  # at once: what was counted last is written on the way out
    stack.start("web")
    assert shown(stack)[stored] >= before
    wait_until(lambda: shown(stack)["cas_transfer_slots"] == 96, SECONDS, "both web processes share")
    before = shown(stack)[stored]
    stack.kill("web")
    stack.start("web")
    assert shown(stack)[stored] >= before
    wait_until(lambda: shown(stack)["cas_transfer_slots"] == 96, SECONDS, "dead processes have no slots")


def test_no_event_waits_in_a_healthy_stack(stack: LiveStack, tenant: Tenant) -> None:
    assert tenant.put(uuid.uuid4().bytes).ok
    tenant.wait_for_published(1)
    wait_until(lambda: shown(stack)["cas_seal_lag_seconds"] == 0, SECONDS, "all is sealed")
    assert shown(stack)["cas_database_up"] == 1
    assert shown(stack)["cas_journal_events"] == 0


def is_file_now(folder: Path) -> bool:
    try:
        folder.write_text("no folder")
    except IsADirectoryError:
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def test_metrics_folder_that_is_gone_fails_no_transfer(stack: LiveStack, tenant: Tenant) -> None:
    folder = stack.folder / "metrics"
    folder.rename(stack.folder / "metrics-aside")
    wait_until(lambda: is_file_now(folder), what="it stays away: each process makes it anew")
    try:
        assert tenant.put(uuid.uuid4().bytes).status_code == 201
        assert shown(stack)["cas_transfer_slots"] == 48  # this process's alone
    finally:
        folder.unlink()
    wait_until(lambda: shown(stack)["cas_transfer_slots"] == 96, SECONDS, "all processes share again")
