"""Signs notes of retention that are not signed, by hand, for there was no key when they were written.

Only what the chain on both sides still proves is signed: that it leads to the note, and from it to a signature, and
that all the note stands for has expired by now. That the events were what they were nobody can tell any more.
"""

from collections.abc import Iterator
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import removals
from audit.chain_reading import RefusedError
from audit.models import RemovedEvents, TrailHead
from audit.vouching import Vouching
from common.transactions import write_transaction


def sign_notes(vouching: Vouching, key: Ed25519PrivateKey, before: datetime) -> Iterator[str]:
    """Sign what can be, and yield what became of each; `before` is the time from which on nothing has expired."""
    # The last first: what is before it is proven by its signature.
    for note in list(RemovedEvents.objects.filter(signature="").order_by("-first_position")):
        found = RemovedEvents.objects.filter(pk=note.pk, last_position=note.last_position, link=note.link, signature="")
        problem = _problem_of(note, vouching, before)
        if not problem:
            with write_transaction():
                head = TrailHead.locked()
                if found.exists():
                    note.expired_before = before
                    removals.sign(head.trail_id, note, key)
                    note.save()
                else:
                    problem = "has changed meanwhile"
        yield f"{removals.name_of(note)} {problem or 'is signed now'}."


def _problem_of(note: RemovedEvents, vouching: Vouching, before: datetime) -> str:
    try:
        link, number = vouching.known_at(note.first_position)
        signature = vouching.first_signature(note.last_position + 1, bytes(note.link))
    except RefusedError as error:
        return f"stays as it is: {error}"
    if signature is None:
        return "stays as it is: there is no signature behind it"
    if link != bytes(note.previous_link):
        return "does not fit what is before it"
    if not signature.is_before(before):
        return "stays as it is: not all that it stands for has expired"
    expected = signature.first_number - 1 if signature.first_number else None
    counted = expected if note.checkpoint_number is None else note.checkpoint_number
    if (expected is not None and counted != expected) or (counted or 0) < (number or 0):
        return f"does not fit the checkpoints on its sides: it counts {counted}"
    note.checkpoint_number = counted
    return ""
