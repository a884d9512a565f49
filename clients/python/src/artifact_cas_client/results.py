"""What calls return."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Upload:
    """`skipped`: the artifact was there, and no byte of it has been sent, or was kept."""

    digest: str
    size_bytes: int
    file_name: str
    skipped: bool


@dataclass(frozen=True, slots=True)
class Download:
    """Where an artifact was written; its bytes have the digest."""

    digest: str
    size_bytes: int
    path: Path


@dataclass(frozen=True, slots=True)
class Description:
    """What the server knows of an artifact; `created_at` as it came (ISO 8601)."""

    digest: str
    size_bytes: int
    file_name: str
    created_at: str
