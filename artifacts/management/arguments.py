"""Types of command-line arguments that several commands take."""

from argparse import ArgumentTypeError

from common.sizes import parse_size


def byte_size(text: str) -> int:
    """Read `1500`, `50MB` or `1.5GiB` as bytes; raise ArgumentTypeError."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
