"""From the server into a file, which gets its name when its bytes are verified and not before."""

import errno
from http import HTTPStatus
from pathlib import Path

from artifact_cas_client.errors import CasError, NotFound, ServerError
from artifact_cas_client.fetching import Fetch, check_digest
from artifact_cas_client.file_names import proposed_name, safe_name
from artifact_cas_client.part_file import EXISTS, PartFile
from artifact_cas_client.placed import Placed
from artifact_cas_client.progress import Progress
from artifact_cas_client.results import Download
from artifact_cas_client.retrying import Backoff
from artifact_cas_client.transport import Transport

_RANGE_NOT_SATISFIABLE = 416


class Downloader:
    """One artifact on its way to `path`: a file, a folder, or None for the server's name in the current folder."""

    def __init__(
        self,
        transport: Transport,
        backoff: Backoff,
        progress: Progress,
        placed: Placed,
        digest: str,
        path: Path | None,
        *,
        force: bool,
    ) -> None:
        self._transport = transport
        self._backoff = backoff
        self._progress = progress
        self._placed = placed
        self._digest = digest
        self._force = force
        self._target = None if path is None or path.is_dir() else path
        self._folder = (path or Path()) if self._target is None else self._target.parent

    def run(self) -> Download:
        """Raises CasError, FileExistsError and other OSErrors. What broke off stays as a part file, to be resumed."""
        self._check_free(self._target)
        with PartFile(self._folder, self._digest) as part:
            resumed = part.size > 0
            try:
                target = self._fill(part)
                if resumed and part.digest != self._digest:
                    raise _Stale
            except _Stale:  # an earlier run left something else
                part.empty()
                target = self._fill(part)
            if part.digest != self._digest:
                part.discard()
                check_digest(part.digest.removeprefix("sha256:"), self._digest)
            with self._placed.placing(target, self._digest, is_proposed=self._target is None):
                part.place(target, force=self._force)
            return Download(self._digest, part.size, target)

    def _fill(self, part: PartFile) -> Path:
        if part.size and part.digest == self._digest:  # it only lacked its name
            return self._resolve("" if self._target else self._ask_name())
        fetch = Fetch(self._transport, self._backoff, self._digest, part.size)
        try:
            fetch.open()
            target = self._resolve(fetch.proposed_name)
            self._progress.begin((fetch.size or part.size) - part.size)
            while block := fetch.read():
                part.write(block)
                self._progress.advance(len(block))
        except ServerError as error:
            if error.status == _RANGE_NOT_SATISFIABLE and part.size:
                raise _Stale from error
            raise
        finally:
            fetch.close()
        return target

    def _ask_name(self) -> str:
        while True:
            try:
                with self._transport.request("HEAD", f"/artifacts/{self._digest}") as answer:
                    return proposed_name(answer.headers.get("Content-Disposition", ""))
            except NotFound as error:  # to a HEAD the server says not of what
                raise NotFound(HTTPStatus.NOT_FOUND, "artifact_not_found", str(error)) from error
            except CasError as error:
                self._backoff.wait(error)

    def _resolve(self, proposed: str) -> Path:
        target = self._target
        if target is None:
            target = self._folder / safe_name(proposed, self._digest.replace(":", "-"))
            self._placed.check(target, self._digest)
        self._check_free(target)
        return target

    def _check_free(self, target: Path | None) -> None:
        if target is not None and not self._force and target.exists():
            raise FileExistsError(errno.EEXIST, EXISTS, str(target))


class _Stale(Exception):
    """What an earlier run left is no beginning of the artifact."""
