"""Types of command-line arguments that several commands take."""

import json
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from common.sizes import parse_size


def byte_size(text: str) -> int:
    """Read `1500`, `50MB` or `1.5GiB` as bytes; raise ArgumentTypeError."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object; raise ArgumentTypeError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"this is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArgumentTypeError("this must be a JSON object")
    return value


def json_file(name: str) -> dict[str, Any]:
    """Read a JSON object from a file, or from standard input for `-`; raise ArgumentTypeError."""
    try:
        return json_object(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentTypeError(f"{name} cannot be read: {error.strerror}") from error
