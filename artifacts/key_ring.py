"""Verifies tokens by keys that are read again when their files change: rotation without a restart."""

import logging
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from artifacts.token_keys import BadKeyFile, TokenKey, key_files, load_keys
from artifacts.tokens import Grant, TokenVerifier, UnknownKey

logger = logging.getLogger(__name__)

LOOKED_AT = 2.0  # seconds after which it is asked again whether the files changed
READ_AGAIN = 3.0  # seconds after which a token by an unknown key has them read once more

_Stamp = tuple[tuple[str, int, int, int], ...]  # of each file: its name, inode, size and time


class KeyRing:
    """The keys of files and folders, and a verifier that knows them; threads may share it.

    A file that cannot be read keeps the keys it had: whoever writes it may be half-way through. To take a key out,
    take it out of the file, or the file out of the folder. Then no token that it signed is remembered.
    """

    def __init__(self, names: Sequence[str], issuer: str = "") -> None:
        """Raises BadKeyFile."""
        self._names = names
        self._issuer = issuer
        self._lock = threading.Lock()
        self._files: dict[Path, list[TokenKey]] = {}
        self._complaints: list[str] = []
        self._stamp = _stamp_of(key_files(names))
        self._files = {path: load_keys(path) for path in key_files(names)}
        self._looked_at = self._read_at = time.monotonic()
        self._verifier = self._make_verifier()

    def verify(self, token: str) -> Grant:
        """The token's grant; raises InvalidToken."""
        if time.monotonic() - self._looked_at > LOOKED_AT:
            self._look()
        verifier = self._verifier
        try:
            return verifier.verify(token)
        except UnknownKey:
            # Its key may have come this moment, or by a file system that does not tell times well.
            self._read_again()
            if self._verifier is verifier:
                raise
            return self._verifier.verify(token)

    def _look(self) -> None:
        if not self._lock.acquire(blocking=False):
            return  # another thread does; this one need not wait
        try:
            self._looked_at = time.monotonic()
            if _stamp_of(self._paths()) != self._stamp:
                self._read()
        finally:
            self._lock.release()

    def _read_again(self) -> None:
        with self._lock:
            if time.monotonic() - self._read_at > READ_AGAIN:
                self._read()

    def _read(self) -> None:
        self._read_at = time.monotonic()
        paths = self._paths()
        self._stamp = _stamp_of(paths)
        complaints, files = [], {}
        for path in paths:
            try:
                files[path] = load_keys(path)
            except BadKeyFile as error:
                complaints.append(str(error))
                files[path] = self._files.get(path, [])
        if complaints != self._complaints:
            for complaint in complaints:
                logger.error("CAS_TOKEN_KEYS: %s Its keys stay as they were.", complaint)
        self._complaints = complaints
        before, self._files = self._files, files
        if _numbers(files) != _numbers(before):
            self._verifier = self._make_verifier()
            logger.info("The keys of tokens have changed; there are %d.", len(_numbers(files)))

    def _paths(self) -> list[Path]:
        try:
            return key_files(self._names)
        except BadKeyFile as error:
            if [str(error)] != self._complaints:
                logger.error("CAS_TOKEN_KEYS: %s All keys stay as they were.", error)
                self._complaints = [str(error)]
            return list(self._files)

    def _make_verifier(self) -> TokenVerifier:
        return TokenVerifier((key for keys in self._files.values() for key in keys), self._issuer)


def _stamp_of(paths: Sequence[Path]) -> _Stamp:
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found.append((str(path), 0, 0, 0))
        else:
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _numbers(files: dict[Path, list[TokenKey]]) -> list[tuple[str | None, int, int]]:
    """What tells sets of keys apart."""
    found = [(key.kid, key.public_key.public_numbers()) for keys in files.values() for key in keys]
    return [(kid, numbers.x, numbers.y) for kid, numbers in found]


@lru_cache
def _ring(names: tuple[str, ...], issuer: str) -> KeyRing:
    return KeyRing(names, issuer)


def verify_token(token: str) -> Grant:
    """Verify by the configured keys (CAS_TOKEN_KEYS); raise InvalidToken."""
    return _ring(tuple(settings.CAS_TOKEN_KEYS), settings.CAS_TOKEN_ISSUER).verify(token)
