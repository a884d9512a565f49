"""Which file names an artifact may have. Pure: no Django."""

import unicodedata

from artifacts.exceptions import InvalidFileName

MAX_BYTES = 255

# Unicode's explicit directional embeddings, overrides and isolates (UAX #9, section 2).
_DIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_file_name(name: str) -> str:
    """Return the name exactly as it came, or raise InvalidFileName."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:  # a lone surrogate
        raise InvalidFileName from error
    if size > MAX_BYTES or name in {".", ".."} or any(map(_is_forbidden, name)):
        raise InvalidFileName
    return name


def _is_forbidden(char: str) -> bool:
    return char in "/\\" or char in _DIRECTIONAL or unicodedata.category(char) == "Cc"
