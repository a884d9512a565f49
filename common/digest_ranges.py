"""Digests by their first digits."""

from django.db.models import Q

UNMISTAKABLE = 8  # hex digits that are a digest's rather than part of a file name, when a digest has them


def begins_with(digest: str) -> Q:
    """Rows whose `digest` has these first digits.

    As a range, which an index serves on every database; SQLite's LIKE ignores case, and so the index too.
    """
    return Q(digest__gte=digest, digest__lt=f"{digest}g")
