"""Numbers of bytes as people write them."""

import re
from decimal import Decimal

_STEP = 1000
_BINARY_STEP = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB")
_WHOLE = 100  # from there on, a fraction says nothing more
_POWERS = ("", "k", "m", "g", "t", "p", "e")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgtpe])(i?))?(?:b|bytes?)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Read `1500`, `50MB` (decimal) or `1.5GiB` (binary) as bytes; raise ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 1500, 50MB or 1.5GiB.")
    number, power, is_binary = match.groups(default="")
    return int(Decimal(number) * (_BINARY_STEP if is_binary else _STEP) ** _POWERS.index(power.lower()))


def format_size(count: int) -> str:
    """Bytes in binary units and rounded, such as `12.3 GiB`, which parse_size reads.

    Of three digits or more, without a fraction.
    """
    power = 0
    while power < len(_UNITS) - 1 and count >= _BINARY_STEP ** (power + 1):
        power += 1
    number = count / _BINARY_STEP**power
    return f"{number:.0f} {_UNITS[power]}" if number >= _WHOLE or not power else f"{number:.1f} {_UNITS[power]}"
