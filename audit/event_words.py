"""What an event is, in plain words: the same on every page."""

from audit import acts, checkpoints
from audit.events import kind_of
from audit.models import AuditEvent


def plain_word(event: AuditEvent) -> str:
    """A word of our own, such as "deduplicated"; "" for an event that others named, or a person made."""
    return "checkpoint" if event.action == checkpoints.ACTION else kind_of(event.action, is_skipped=event.skipped)


def words_of(event: AuditEvent) -> str:
    """The same, or what a person did, or else the action as its publisher named it: that may hold any characters."""
    if word := plain_word(event):
        return word
    if act := acts.describe(event):
        return " ".join(filter(None, (act.who, act.what)))
    return event.action or event.subject
