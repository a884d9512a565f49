"""Template filters of the admin pages."""

import json
import unicodedata

from django import template

register = template.Library()

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # Persian and emoji sequences are spelt with them, and they mislead nobody


@register.filter
def visible(text: str) -> str:
    """The text with control, bidirectional and other invisible characters as JSON escapes, such as \\u202e."""
    return "".join(json.dumps(char)[1:-1] if _is_invisible(char) else char for char in text)


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE and char not in _JOINERS
