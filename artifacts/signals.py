"""What this app tells the rest of the project: one signal a finished transfer, sent at its success point.

All three are sent with `sender=Artifact` and plain values as keyword arguments:

    digest           str   64 hexadecimal digits
    size_bytes       int   bytes stored, found stored, or handed to the client
    file_name        str   "" when unknown
    backend          str   kind of location, such as "AWS-S3"
    location         str   the location's name
    org_id           str   organization as the token has it, not necessarily a UUID
    source_internal  bool  the control plane's own traffic

Uploads send theirs inside the transaction that records the artifact; a receiver's rows commit with it or
not at all. Receivers cannot fail a transfer: what they raise is logged.
"""

from django.dispatch import Signal

# Bytes of a new artifact matched their digest and are durably stored.
artifact_uploaded = Signal()

# An upload was answered without storing, because the artifact was there. `size_bytes` is the stored size.
artifact_deduplicated = Signal()

# Every byte asked for was verified and handed to the client. Of a range, `size_bytes` is the range's length.
artifact_downloaded = Signal()
