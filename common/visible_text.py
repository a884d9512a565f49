"""Text that others gave, so that a person sees every character of it. Pure."""

import json
import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # Persian and emoji sequences are spelt with them, and they mislead nobody


def visible(text: str) -> str:
    """The text with control, bidirectional and other invisible characters as JSON escapes, such as \\u202e."""
    return "".join(json.dumps(char)[1:-1] if is_invisible(char) else char for char in text)


def is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE and char not in _JOINERS
