"""Text that a database can hold: no half of a surrogate pair and, for PostgreSQL, no NUL. Pure."""

import re

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    return _UNSTORABLE.search(text) is None


def storable(text: str) -> str:
    """The text with a mark in place of each character that a database's text cannot hold."""
    return _UNSTORABLE.sub("\ufffd", text)
