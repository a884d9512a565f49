"""Google Cloud Storage: resumable uploads, conditional writes, ranged reads."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import requests
from google.api_core.exceptions import NotFound, PreconditionFailed, RequestRangeNotSatisfiable
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2.service_account import Credentials

from artifacts.exceptions import StorageError
from artifacts.storage.base import ObjectReader, StoredObject
from artifacts.storage.http import prepare
from artifacts.storage.metadata import from_metadata, to_metadata
from artifacts.storage.object_service import Entry, Parts, Patience
from artifacts.storage.objects import ObjectStore
from artifacts.storage.resumable import ResumableUpload

FIRST_READ_BYTES = 256 * 1024  # a download's first range, so that its first byte does not wait for more
READ_BYTES = 8 * 1024**2  # the ranges after it; one is held in memory


class GoogleStore(ObjectStore):
    """Twins: writes that name the generation they replace."""

    def __init__(self, storage: Any, patience: Patience) -> None:
        super().__init__(storage.location)
        has_key = isinstance(storage.credentials, dict)  # as it comes from a location: the JSON of a key file
        if has_key:
            storage.credentials = Credentials.from_service_account_info(storage.credentials)  # type: ignore[no-untyped-call]
        self._storage = storage
        self._bucket = storage.bucket
        prepare(storage.client._http)
        tokens = getattr(storage.client._http, "_auth_request_session", None)
        if has_key and tokens is not None:  # the machine's own tokens come from a cloud's metadata address
            prepare(tokens)
        self._session = prepare(requests.Session())
        self._timeout = (patience.connect, patience.read)
        self._retries = patience.retries
        # Google's retries end by the clock: a silent service is asked `retries` more times.
        self._call = {
            "timeout": self._timeout,
            "retry": DEFAULT_RETRY.with_timeout(patience.retries * patience.read or 0.001),
        }
        self._bucket_exists = False

    def _blob(self, key: str, file_name: str = "") -> Any:
        blob = self._bucket.blob(f"{self.root}{key}")
        for name, value in self._storage.get_object_parameters(blob.name).items():
            if name not in {"acl", "content_type"}:
                setattr(blob, name, value)
        blob.metadata = {**(blob.metadata or {}), **to_metadata(file_name)} or None
        return blob

    def _writing(self, key: str) -> dict[str, Any]:
        given = self._storage.get_object_parameters(f"{self.root}{key}")
        return {
            "content_type": given.get("content_type", "application/octet-stream"),
            "predefined_acl": given.get("acl", self._storage.default_acl),
            **self._call,
        }

    def _find(self, key: str) -> Any:
        blob = self._bucket.get_blob(f"{self.root}{key}", **self._call)
        if blob is None:
            self._require_bucket()
        else:
            self._bucket_exists = True
        return blob

    def _require_bucket(self) -> None:
        """Raise StorageError when the bucket is what is missing."""
        if not self._bucket_exists:
            try:
                next(iter(self._bucket.list_blobs(max_results=1, **self._call)), None)
            except NotFound as error:
                raise StorageError("The location's bucket does not exist.") from error
            self._bucket_exists = True

    def head(self, key: str) -> StoredObject | None:
        blob = self._find(key)
        return blob and StoredObject(blob.size, blob.updated, from_metadata(blob.metadata))

    def get(self, key: str, offset: int) -> ObjectReader | None:
        blob = self._bucket.blob(f"{self.root}{key}")

        def fetch(start: int, length: int) -> bytes:
            # The first answer tells the blob's generation, to which the next requests keep.
            try:
                content: bytes = blob.download_as_bytes(
                    start=start, end=start + length - 1, raw_download=True, checksum=None, **self._call
                )
            except RequestRangeNotSatisfiable:
                return b""
            return content

        try:
            return _Reader(fetch, offset)
        except NotFound:
            self._require_bucket()
            return None

    def put(self, key: str, content: bytes, file_name: str, *, replace: bool) -> bool:
        condition = {} if replace else {"if_generation_match": 0}
        try:
            self._blob(key, file_name).upload_from_string(content, checksum="crc32c", **self._writing(key), **condition)
        except PreconditionFailed:
            return False
        return True

    def begin(self, key: str, file_name: str) -> Parts:
        # The condition is part of the upload's beginning, when nobody knows yet whether it is to replace.
        there = self._find(key)
        generation = there.generation if there else 0
        url = self._blob(key, file_name).create_resumable_upload_session(
            checksum=None, if_generation_match=generation, **self._writing(key)
        )
        return _Resumable(ResumableUpload(self._session, url, self._timeout, self._retries), is_new=there is None)

    def copy(self, source: str, target: str, file_name: str, *, replace: bool) -> bool:
        blob, token = self._blob(target, file_name), None
        blob.content_type = self._writing(target)["content_type"]
        condition = {} if replace else {"if_generation_match": 0}
        try:
            while True:
                token, _, _ = blob.rewrite(self._bucket.blob(f"{self.root}{source}"), token, **condition, **self._call)
                if token is None:
                    return True
        except PreconditionFailed:
            return False

    def remove(self, key: str) -> None:
        try:
            self._bucket.blob(f"{self.root}{key}").delete(**self._call)
        except NotFound:
            self._require_bucket()

    def entries(self, prefix: str, after: str = "") -> Iterator[Entry]:
        listing = self._bucket.list_blobs(
            prefix=f"{self.root}{prefix}",
            start_offset=f"{self.root}{after}" if after else None,
            page_size=self.page_size,
            fields="items(name,size,updated),nextPageToken",
            **self._call,
        )
        for blob in listing:
            yield Entry(blob.name.removeprefix(self.root), blob.size, blob.updated)


class _Resumable(Parts):
    def __init__(self, upload: ResumableUpload, *, is_new: bool) -> None:
        self._upload = upload
        self._is_new = is_new

    def add(self, part: bytes) -> None:
        self._upload.send(part)

    def complete(self, last: bytes, *, replace: bool) -> bool:
        """False also if the object was replaced by a twin since the upload began, as it has verified it too."""
        return (self._is_new or replace) and self._upload.finish(last)

    def abort(self) -> None:
        self._upload.cancel()


class _Reader:
    """Fetches range after range and never ahead, so there is nothing to let go of."""

    def __init__(self, fetch: Callable[[int, int], bytes], offset: int) -> None:
        self._fetch = fetch
        self._offset = offset
        self._is_at_end = False
        self._buffer = io.BytesIO()
        self._fill(FIRST_READ_BYTES)

    def _fill(self, length: int) -> None:
        content = self._fetch(self._offset, length)
        self._offset += len(content)
        self._is_at_end = len(content) < length
        self._buffer = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        block = self._buffer.read(size)
        if not block and not self._is_at_end:
            self._fill(READ_BYTES)
            block = self._buffer.read(size)
        return block

    def close(self) -> None:
        self._buffer, self._is_at_end = io.BytesIO(), True
