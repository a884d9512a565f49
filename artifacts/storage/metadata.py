"""File names in an object's metadata: one key, ASCII values, as S3 and Azure take no others. Pure: no Django."""

import base64
import re
from collections.abc import Mapping
from email.errors import MessageError
from email.header import decode_header, make_header

from artifacts.exceptions import InvalidFileName
from artifacts.file_names import check_file_name

FILE_NAME = "filename"  # Chainloop's key too; it writes `Filename`, and services differ in the case they return

# What arrives through an HTTP header as it was sent: headers are trimmed, and signing folds runs of spaces.
_PLAIN = re.compile(r"[!-~]+( [!-~]+)*")


def to_metadata(file_name: str) -> dict[str, str]:
    """The metadata that keeps this file name, as an RFC 2047 encoded word unless it is plain ASCII."""
    if not file_name:
        return {}
    if _PLAIN.fullmatch(file_name) and "=?" not in file_name:
        return {FILE_NAME: file_name}
    # One word however long, where RFC 2047 would fold: a metadata value has no lines.
    return {FILE_NAME: f"=?UTF-8?B?{base64.b64encode(file_name.encode()).decode()}?="}


def from_metadata(metadata: Mapping[str, str] | None) -> str:
    """The file name in an object's metadata, "" when there is none or none that an artifact may have.

    Never raises: anybody may have written it.
    """
    for key, value in (metadata or {}).items():
        if key.lower() == FILE_NAME and isinstance(value, str):
            try:
                return check_file_name(_decode(value))
            except InvalidFileName:
                return ""
    return ""


def _decode(value: str) -> str:
    try:
        if "=?" in value:
            return str(make_header(decode_header(value)))
        return value.encode("latin-1").decode()  # UTF-8 sent raw, which HTTP clients read as Latin-1
    except (MessageError, ValueError, LookupError):
        return value
