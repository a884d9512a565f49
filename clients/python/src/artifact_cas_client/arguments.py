"""The command line."""

import argparse
import os
import re
from pathlib import Path

from artifact_cas_client.client import RESUMABLE_FROM
from artifact_cas_client.exit_codes import MEANINGS

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"(\d{1,15})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)

_HELP = (
    "file that holds the token, read anew for each request; default: CAS_TOKEN_FILE, else the token in CAS_TOKEN. "
    "A token on the command line could be seen by everybody on the machine, so there is no such option"
)


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    top = argparse.ArgumentParser(
        prog="cas",
        description="Store artifacts by their SHA-256, and fetch them.",
        epilog=MEANINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    upload = _command(commands, "upload", "store files; prints a digest for each")
    upload.add_argument(
        "files", nargs="+", metavar="FILE", help="a file; - is standard input, kept in a temporary file first"
    )
    upload.add_argument("--name", help="the file name the artifact gets, for one file; default: the file's own")
    upload.add_argument(
        "--resumable-from",
        type=_size,
        default=RESUMABLE_FROM,
        metavar="SIZE",
        help="files of this size and more can be resumed by the same command (default: 64M)",
    )
    _add_connection(upload)

    download = _command(commands, "download", "fetch artifacts into files; prints where they are")
    download.add_argument("digests", nargs="+", metavar="DIGEST", help="sha256:<hex>")
    download.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="file or folder, for several digests a folder; - is standard output, once all is verified; "
        "default: the current folder, under the name the server has",
    )
    download.add_argument("--force", action="store_true", help="overwrite files that exist")
    _add_connection(download)

    describe = _command(commands, "describe", "say what the server knows of artifacts")
    describe.add_argument("digests", nargs="+", metavar="DIGEST", help="sha256:<hex>")
    _add_connection(describe)

    digest = _command(commands, "digest", "print the digests of files; asks no server")
    digest.add_argument("files", nargs="+", metavar="FILE", help="a file; - is standard input")
    return top


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=MEANINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --token must not be --token-file
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line, also for errors")
    command.add_argument("-q", "--quiet", action="store_true", help="no progress bar and no notes")
    return command


def _add_connection(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("connection")
    group.add_argument(
        "--server", metavar="URL", default=os.environ.get("CAS_SERVER"), help="its address; default: CAS_SERVER"
    )
    group.add_argument(
        "--token-file", metavar="FILE", type=Path, default=os.environ.get("CAS_TOKEN_FILE") or None, help=_HELP
    )
    group.add_argument(
        "--ca-file",
        metavar="FILE",
        default=os.environ.get("CAS_CA_FILE") or None,
        help="certificates to trust in place of the system's (PEM); default: CAS_CA_FILE",
    )
    group.add_argument("-j", "--jobs", type=_positive, default=4, metavar="N", help="transfers at a time (default: 4)")
    group.add_argument(
        "--retries",
        type=_count,
        default=5,
        metavar="N",
        help="further attempts, in a row, after a failure that may pass",
    )
    group.add_argument(
        "--timeout",
        type=_positive,
        default=60,
        metavar="SECONDS",
        help="how long the server may be silent (default: 60)",
    )


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, such as 64M")
    return int(match[1]) * _UNITS[match[2].lower()]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)
