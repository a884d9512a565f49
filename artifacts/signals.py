"""What this app tells the rest of the project: one signal a finished transfer, sent at its success point.

The first three are sent with `sender=Artifact` and plain values as keyword arguments:

    digest           str   64 hexadecimal digits
    size_bytes       int   bytes stored, found stored, or handed to the client
    file_name        str   "" when unknown
    backend          str   kind of location, such as "AWS-S3"
    location         str   the location's name
    org_id           str   organization as the token has it, not necessarily a UUID
    source_internal  bool  the control plane's own traffic
    event_id         UUID  of an upload in pieces, the same however often it is told; None of any other transfer

A transfer is acknowledged when all receivers have returned, so what they keep by then is kept for every
acknowledged transfer: uploads send theirs when the artifact is in place, downloads when only the last piece
has yet to be handed over. Receivers cannot fail a transfer: what they raise is logged.
"""

from django.dispatch import Signal

# Bytes of a new artifact matched their digest and are durably stored.
artifact_uploaded = Signal(use_caching=True)

# An upload was answered without storing, because the artifact was there. `size_bytes` is the stored size.
artifact_deduplicated = Signal(use_caching=True)

# Every byte asked for was verified, and the last of them are about to be handed over.
# Of a range, `size_bytes` is the range's length.
artifact_downloaded = Signal(use_caching=True)

# A request was answered with a problem document. Arguments: `status` int, `code` str, and `is_busy` bool, True when it
# was refused because as many transfers were under way as are taken. Sent with `sender=None`.
problem_answered = Signal()

# A person did something by hand, in the admin. Arguments: `request` HttpRequest, `act` str ("downloaded", "tested",
# "deleted"), `subject` the Artifact, Location or ResumableUpload, `org_id` UUID or None, and `details`, a dictionary of
# what JSON can say.
person_acted = Signal()
