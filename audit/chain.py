"""The hash chain of the trail: what a link is made of, to the byte. Pure: no Django.

A link is SHA-256 over the link before it, the position, and the event's values, so that whoever changes, removes or
inserts an event must compute every later link anew (Haber and Stornetta, "How to Time-Stamp a Digital Document", 1991).
What publishing writes to a row is no part of it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

# The values of an event in the order in which they are hashed. To change this is to break every chain there is.
FIELDS = (
    "event_id",
    "occurred_at",
    "action",
    "org_id",
    "digest",
    "size_bytes",
    "file_name",
    "backend",
    "location",
    "skipped",
    "subject",
    "payload",
)
GENESIS = bytes(32)  # stands for the link before position 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def link_of(previous: bytes, position: int, values: Sequence[object]) -> bytes:
    """The link of an event, given its values in the order of FIELDS; 32 bytes."""
    return sha256(previous + position.to_bytes(8, "big") + b"".join(map(_encode, values))).digest()


def _encode(value: object) -> bytes:
    """Kind, length and text of a value, so that no two lists of values are the same bytes.

    A UUID is its 32 hex digits, a time the microseconds since the epoch, a boolean 0 or 1: what each database keeps of
    them is different, and a link must not be. Total, for a row that somebody tampered with may hold anything.
    """
    kind, text = _kind_and_text(value)
    return b"%b%d:%b" % (kind, len(text), text)


def _kind_and_text(value: object) -> tuple[bytes, bytes]:
    if isinstance(value, str):
        return b"s", value.encode(errors="surrogatepass")
    if isinstance(value, int):
        return b"i", b"%d" % value
    if isinstance(value, UUID):
        return b"s", value.hex.encode()
    if isinstance(value, datetime):
        return b"i", b"%d" % microseconds_of(value)
    if isinstance(value, bytes):
        return b"b", value
    return b"o", repr(value).encode()  # None; and on SQLite a number with a point, where somebody wrote one


def microseconds_of(time: datetime) -> int:
    """An aware time as microseconds since the Unix epoch."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> datetime:
    """The reverse; raises OverflowError for a time that Python does not know."""
    return _EPOCH + microseconds * _MICROSECOND
