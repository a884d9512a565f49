"""One fault: calm, fault, calm, fault, ..., then what became of every transfer."""

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.clients import Clients, Outcome
from tests.chaos.comparison import Verdict, compare
from tests.chaos.faults.base import Fault
from tests.chaos.timing import Timing, Window, measure
from tests.chaos.world import World

WARM_UP = 1.0  # seconds
SLACK = 1.1  # how many times as long transfers may take


@dataclass(frozen=True, slots=True)
class Result:
    fault: type[Fault]
    verdict: Verdict
    timing: Timing | None
    drained_after: float | None  # seconds; None: not in time
    details: Counter[str] = field(default_factory=Counter)  # what clients were told instead of success

    def problems(self) -> list[str]:
        """Why this is no pass; timing has no say, for it is the machine's too."""
        verdict, outcomes = self.verdict, self.verdict.outcomes
        found = {
            "acknowledged transfers without a row": verdict.without_row,
            "rows without a message": verdict.without_message,
            "rows too many": verdict.rows_twice,
            "messages too many": 0 if self.fault.may_double else verdict.messages_twice,
            "events of what did not happen": verdict.unfounded,
            "transfers failed": 0 if self.fault.may_fail else sum(outcomes.values()) - outcomes[Outcome.ACKNOWLEDGED],
            "not drained in time": int(self.drained_after is None),
            "nothing was transferred": int(not outcomes[Outcome.ACKNOWLEDGED]),
        }
        return [f"{count} {what}" if count > 1 else what for what, count in found.items() if count]


def run(world: World, kind: type[Fault], seconds: float, rounds: int) -> Result:
    """Inject the fault that many times for that many seconds; raises Unavailable."""
    fault = kind()
    world.use(fault.environment(world))
    start = world.database.last()
    windows: list[tuple[Window, Window]] = []
    with fault.prepared(world):
        with Clients(world.stack, are_slow=fault.has_slow_clients) as clients:
            time.sleep(WARM_UP)
            for _ in range(rounds):
                calm = time.monotonic(), time.monotonic() + seconds
                time.sleep(seconds)
                with fault.fault(world):
                    windows.append((calm, _last(world, fault, seconds)))
                # What the worker has to catch up with is not calm.
                world.settle(fault.drain_seconds, start, world.database.last())
        stopped = time.monotonic()
        is_drained = world.settle(fault.drain_seconds, start)
    if not is_drained:
        world.forget()  # what hangs must not count against the next fault
    took = time.monotonic() - stopped
    ids = world.stream.ids()  # before the rows: a message that comes in between would be of no row
    verdict = compare(clients.transfers, world.database.rows(), ids)
    timing = measure(clients.transfers, windows)
    details = Counter(each.detail[:150] for each in clients.transfers if each.outcome is Outcome.FAILED)
    return Result(kind, verdict, timing, took if is_drained else None, details)


def _last(world: World, fault: Fault, seconds: float) -> Window:
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        fault.go_on(world)
        time.sleep(min(0.1, max(begun + seconds - now, 0)))
    return begun, time.monotonic()
