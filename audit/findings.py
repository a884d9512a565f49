"""What a verification of the trail comes to."""

from dataclasses import asdict, dataclass, field
from typing import Any

from audit.statements import Checkpoint

KEPT = 100  # findings; all are counted


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was sealed: at which position, in which row, and what."""

    problem: str
    position: int | None = None
    row_id: int | None = None
    event_id: str = ""

    def __str__(self) -> str:
        place = [
            *([f"position {self.position}"] if self.position is not None else []),
            *([f"row {self.row_id}"] if self.row_id is not None else []),
            *([f"event {self.event_id}"] if self.event_id else []),
        ]
        return f"{', '.join(place) or 'the trail'}: {self.problem}"


@dataclass(slots=True)
class Report:
    """Counts, the last checkpoint that was in order, and the first findings in the order of the chain."""

    trail_id: str = ""
    first_position: int = 0
    last_position: int = 0
    events: int = 0
    removed: int = 0
    unsealed: int = 0
    checkpoints: int = 0
    signed_checkpoints: int = 0
    last_checkpoint: Checkpoint | None = None
    last_signed: Checkpoint | None = None
    signatures_checked: bool = False
    finding_count: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.finding_count += 1
        if len(self.findings) < KEPT:
            self.findings.append(finding)

    @property
    def is_sound(self) -> bool:
        return not self.finding_count

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "is_sound": self.is_sound}
