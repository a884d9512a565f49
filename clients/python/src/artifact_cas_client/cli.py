"""The `cas` command."""

import os
import signal
import ssl
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import NoReturn

from artifact_cas_client.addresses import Server
from artifact_cas_client.arguments import parser
from artifact_cas_client.client import Client
from artifact_cas_client.console import Console
from artifact_cas_client.digests import digest_of, digest_of_file
from artifact_cas_client.errors import CasError, ConfigurationError
from artifact_cas_client.exit_codes import FAILED, INTERRUPTED, exit_code
from artifact_cas_client.work import Work, require, work_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(
        as_json=options.json,
        is_quiet=options.quiet,
        is_piped=getattr(options, "output", None) == "-",
        shows_bar=options.command in {"upload", "download"},
    )
    try:
        if options.command == "digest":
            return _print_digests(options, console)
        return _transfer(options, console)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone; nor could Python flush it when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (CasError, OSError) as error:
        console.error("", error)
        return exit_code(error)
    finally:
        console.bar.close()


def _print_digests(options: Namespace, console: Console) -> int:
    code = 0
    for name in options.files:
        try:
            digest = digest_of(sys.stdin.buffer) if name == "-" else digest_of_file(name)
        except OSError as error:
            console.error(name, error)
            code = code or exit_code(error)
        else:
            console.result(name, {"digest": digest}, f"{digest}  {name}")
    return code


def _transfer(options: Namespace, console: Console) -> int:
    client = _client(options, console)
    with tempfile.TemporaryDirectory(prefix="cas-") as folder, client:
        return _run(work_of(options, client, console, Path(folder)), options.jobs, client, console)


def _run(work: Work, jobs: int, client: Client, console: Console) -> int:
    """Do it all, several at a time, and return the exit code; an interrupt ends what is under way."""
    codes: dict[str, int] = {}

    def do(name: str) -> None:
        try:
            result, text = work[name]()
        except (CasError, OSError) as error:
            codes[name] = exit_code(error)
            if not client.is_closed:
                console.error(name, error)
        else:
            console.result(name, result, text)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(do, name) for name in work]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException:
            client.close()
            pool.shutdown(cancel_futures=True)
            raise
    return next((codes[name] for name in work if name in codes), 0)


def _client(options: Namespace, console: Console) -> Client:
    require(bool(options.server), "No server: give --server, or set CAS_SERVER.")
    server = Server.parse(options.server)
    if not server.is_tls and not server.is_local:
        console.note(f"the token goes to {server} unencrypted; use https.")
    return Client(
        options.server,
        _token(options.token_file),
        retries=options.retries,
        timeout=options.timeout,
        resumable_from=getattr(options, "resumable_from", 0),
        tls=_trust(options.ca_file),
        progress=console.bar,
    )


def _token(file: str | Path | None) -> str | Callable[[], str]:
    if file is not None:
        read = partial(_read_token, Path(file))
        read()  # what is wrong is said once, and not for each file
        return read
    token = os.environ.get("CAS_TOKEN", "")
    require(bool(token.strip()), "No token: set CAS_TOKEN, or give --token-file.")
    return token


def _read_token(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: no token, for it is not UTF-8.", "invalid_token") from error


def _trust(ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(f"{ca_file}: no certificates to trust ({error}).") from error


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
