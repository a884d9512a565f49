"""Names of streams and consumers. Pure: whoever only checks a name needs no NATS client."""

import re
from argparse import ArgumentTypeError

STREAM = "chainloop-audit"


def stream_name(text: str) -> str:
    """A name that a stream or a consumer can have; raises ArgumentTypeError."""
    if re.fullmatch(r"[^\s.*>/\\]+", text) is None:
        raise ArgumentTypeError(f"{text!r} is not a name that a stream or consumer can have")
    return text
