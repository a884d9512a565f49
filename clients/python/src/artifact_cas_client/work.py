"""Which pieces of work a command line is; each is done by some thread, and returns a result and a line about it."""

import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from artifact_cas_client.client import Client
from artifact_cas_client.console import Console, Result
from artifact_cas_client.digests import parse_digest
from artifact_cas_client.errors import ConfigurationError

Work = dict[str, Callable[[], tuple[Result, str]]]

_BLOCK = 1024**2


def work_of(options: Namespace, client: Client, console: Console, folder: Path) -> Work:
    """By the names that the user gave; `folder` is for temporary files. Raises ConfigurationError, OSError."""
    if options.command == "upload":
        return _uploads(options, client, console, folder)
    if options.command == "describe":
        return {digest: partial(_describe, client, digest) for digest in options.digests}
    return _downloads(options, client, folder)


def require(condition: bool, complaint: str) -> None:
    """Raises ConfigurationError."""
    if not condition:
        raise ConfigurationError(complaint)


def _uploads(options: Namespace, client: Client, console: Console, folder: Path) -> Work:
    require(options.name is None or len(options.files) == 1, "--name is for one file.")
    work: Work = {}
    for name in options.files:
        if name != "-":
            work[name] = partial(_upload, client, name, Path(name), options.name)
        elif name not in work:
            console.note("standard input goes to a temporary file first: its digest and length are needed.")
            path = folder / "stdin"
            with path.open("xb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file, _BLOCK)
            work[name] = partial(_upload, client, name, path, options.name or "")
    return work


def _upload(client: Client, name: str, path: Path, file_name: str | None) -> tuple[Result, str]:
    done = client.upload(path, file_name=file_name)
    return asdict(done), f"{done.digest}  {name}  {'already there' if done.skipped else 'stored'}"


def _downloads(options: Namespace, client: Client, folder: Path) -> Work:
    digests = dict.fromkeys(parse_digest(digest) for digest in options.digests)
    if options.output == "-":
        require(len(digests) == 1, "Standard output is for one artifact.")
        return {digest: partial(_pour, client, digest, folder) for digest in digests}
    output = None if options.output is None else Path(options.output)
    require(len(digests) == 1 or output is None or output.is_dir(), "-o must be a folder for several digests.")
    return {digest: partial(_download, client, digest, output, force=options.force) for digest in digests}


def _download(client: Client, digest: str, output: Path | None, *, force: bool) -> tuple[Result, str]:
    done = client.download(digest, output, force=force)
    return asdict(done), f"{done.digest}  {done.path}"


def _pour(client: Client, digest: str, folder: Path) -> tuple[Result, str]:
    """To standard output, of which nothing can be taken back: so only when all is verified."""
    done = client.download(digest, folder / "artifact")
    with done.path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer, _BLOCK)
    sys.stdout.buffer.flush()
    return {**asdict(done), "path": "-"}, f"{done.digest}  -"


def _describe(client: Client, digest: str) -> tuple[Result, str]:
    found = client.describe(digest)
    return asdict(found), f"{found.digest}  {found.size_bytes}  {found.created_at}  {found.file_name}"
