"""Azure Blob Storage: block blobs, conditional writes, ranged reads."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from uuid import uuid4

import requests
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobBlock, BlobServiceClient, ContentSettings, ExponentialRetry

from artifacts.exceptions import StorageError
from artifacts.storage.base import ObjectReader, StoredObject
from artifacts.storage.http import prepare
from artifacts.storage.metadata import from_metadata, to_metadata
from artifacts.storage.object_service import Entry, Parts, Patience
from artifacts.storage.objects import ObjectStore

FIRST_READ_BYTES = 256 * 1024  # a download's first range, so that its first byte does not wait for more
READ_BYTES = 4 * 1024**2  # the ranges after it; the SDK holds one in memory twice, and reserves ten times as much
COPY_SECONDS = 3600  # a copy within an account is nearly always done at once

_GONE = {"BlobNotFound", "ResourceNotFound"}
_UNLESS_THERE = {"match_condition": MatchConditions.IfMissing}


def make_client(storage: Any, patience: Patience) -> Any:
    """A client of the storage's container; the `client_options` it was given overrule our defaults."""
    defaults = {
        "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=patience.retries),
        "max_single_get_size": FIRST_READ_BYTES,
        "max_chunk_get_size": READ_BYTES,
    }
    options = {**defaults, **(storage.client_options or {})}
    if "transport" not in options:
        options["transport"] = RequestsTransport(
            session=prepare(requests.Session()),
            session_owner=False,
            connection_data_block_size=FIRST_READ_BYTES,  # 4 KiB unless told: half as fast
            connection_timeout=options.pop("connection_timeout", patience.connect),
            read_timeout=options.pop("read_timeout", patience.read),
        )
    if storage.connection_string is not None:
        service = BlobServiceClient.from_connection_string(storage.connection_string, **options)
        return service.get_container_client(storage.azure_container)
    storage.client_options = options
    return storage.client


class AzureStore(ObjectStore):
    """Twins: conditional writes. Blocks that were sent and not made a blob are dropped by Azure after a week."""

    def __init__(self, storage: Any, patience: Patience) -> None:
        super().__init__(storage.location)
        self._storage = storage
        self._container = make_client(storage, patience)

    def blob(self, key: str) -> Any:
        return self._container.get_blob_client(f"{self.root}{key}")

    def _settings(self, key: str, file_name: str) -> dict[str, Any]:
        given = {"content_type": "application/octet-stream"} | self._storage.get_object_parameters(f"{self.root}{key}")
        return {"content_settings": ContentSettings(**given), "metadata": to_metadata(file_name)}

    def head(self, key: str) -> StoredObject | None:
        try:
            found = self.blob(key).get_blob_properties()
        except ResourceNotFoundError as error:
            _check_missing(error)
            return None
        if found.copy.status not in (None, "success"):
            return None  # a copy that has not arrived
        return StoredObject(found.size, found.last_modified, from_metadata(found.metadata))

    def get(self, key: str, offset: int) -> ObjectReader | None:
        try:
            download = self.blob(key).download_blob(offset=offset or None, max_concurrency=1, decompress=False)
        except ResourceNotFoundError as error:
            _check_missing(error)
            return None
        except HttpResponseError as error:
            if error.status_code == requests.codes.requested_range_not_satisfiable:
                return io.BytesIO()
            raise
        return _Reader(download)

    def put(self, key: str, content: bytes, file_name: str, *, replace: bool) -> bool:
        try:
            self.blob(key).upload_blob(content, overwrite=replace, **self._settings(key, file_name))
        except ResourceExistsError:
            return False
        return True

    def begin(self, key: str, file_name: str) -> Parts:
        return _Blocks(self, key, self._settings(key, file_name))

    def copy(self, source: str, target: str, file_name: str, *, replace: bool) -> bool:
        blob = self.blob(target)
        try:
            answer = blob.start_copy_from_url(self.blob(source).url, **({} if replace else _UNLESS_THERE))
        except (ResourceExistsError, ResourceModifiedError):
            return False
        try:
            if _wait_for_copy(blob, answer["copy_status"]) != "success":
                raise StorageError("The storage failed to copy the upload to its place.")
        except BaseException:
            _drop_copy(blob, answer["copy_id"])
            raise
        return True

    def remove(self, key: str) -> None:
        try:
            self.blob(key).delete_blob(delete_snapshots="include")
        except ResourceNotFoundError as error:
            _check_missing(error)

    def entries(self, prefix: str, after: str = "") -> Iterator[Entry]:
        start = {"start_from": f"{self.root}{after}"} if after else {}
        listing = self._container.list_blobs(
            name_starts_with=f"{self.root}{prefix}", results_per_page=self.page_size, **start
        )
        for item in listing:
            yield Entry(item.name.removeprefix(self.root), item.size, cast(datetime, item.last_modified))


class _Blocks(Parts):
    def __init__(self, store: AzureStore, key: str, settings: dict[str, Any]) -> None:
        self._store = store
        self._key = key
        self._blob = store.blob(key)
        self._settings = settings
        self._blocks: list[BlobBlock] = []
        self._id = uuid4().hex  # twins send blocks to one blob: their ids differ, and have one length

    def add(self, part: bytes) -> None:
        block = BlobBlock(block_id=f"{self._id}-{len(self._blocks):06d}")
        self._blob.stage_block(block.id, part)
        self._blocks.append(block)

    def complete(self, last: bytes, *, replace: bool) -> bool:
        self.add(last)
        try:
            self._blob.commit_block_list(self._blocks, **self._settings, **({} if replace else _UNLESS_THERE))
        except (ResourceExistsError, ResourceModifiedError):
            return False
        except HttpResponseError as error:
            # A twin's commit drops the blocks of all others.
            if _code(error) == "InvalidBlockList" and not replace and self._store.head(self._key) is not None:
                return False
            raise
        return True

    def abort(self) -> None:
        """Azure has no such call: it drops the blocks after a week, or when the blob is made."""


class _Reader:
    """The SDK's reader fetches range after range and never ahead, so there is nothing to let go of."""

    def __init__(self, download: Any) -> None:
        self._download = download

    def read(self, size: int, /) -> bytes:
        return cast(bytes, self._download.read(size))

    def close(self) -> None:
        self._download = io.BytesIO()


def _wait_for_copy(blob: Any, status: str) -> str:
    """The status in which a copy ends, "pending" when that takes too long."""
    pause, deadline = 0.1, time.monotonic() + COPY_SECONDS
    while status == "pending" and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 5)
        status = blob.get_blob_properties().copy.status
    return status


def _drop_copy(blob: Any, copy_id: str) -> None:
    """Leave nothing of a copy that has not arrived: its blob is empty, and in the way of every other upload."""
    try:
        blob.abort_copy(copy_id)
    except HttpResponseError as error:
        if _code(error) != "NoPendingCopyOperation":
            raise
    found = blob.get_blob_properties()
    if found.copy.status not in (None, "success"):  # one that has arrived after all may have been found by others
        blob.delete_blob(etag=found.etag, match_condition=MatchConditions.IfNotModified)


def _check_missing(error: HttpResponseError) -> None:
    """Return if the error says that a blob is missing; raise it when it is the container."""
    if _code(error) not in _GONE:
        raise error


def _code(error: HttpResponseError) -> str:
    return str(getattr(error, "error_code", ""))
