"""AWS S3, and what speaks its API: multipart uploads, conditional writes, ranged reads."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

from botocore.config import Config
from botocore.exceptions import ClientError

from artifacts.exceptions import StorageError, StorageFull
from artifacts.storage.base import ObjectReader, StoredObject
from artifacts.storage.errors import storage_errors
from artifacts.storage.hosts import guarded
from artifacts.storage.metadata import from_metadata, to_metadata
from artifacts.storage.object_service import INCOMING, PREFIX, Entry, Parts, Patience
from artifacts.storage.objects import ObjectStore

COPY_BYTES = 512 * 1024**2  # of a copy within the service at once; it takes 5 GiB, and must answer in time

_MISSING = {"404", "NoSuchKey", "NotFound"}
_CONDITION_FAILED = {"412", "PreconditionFailed"}
_CONFLICT = "ConditionalRequestConflict"
_NOT_UNDERSTOOD = {"501", "NotImplemented", "InvalidArgument", "InvalidRequest"}
_FULL = {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "507"}
_CONFLICT_PAUSES = (0.1, 0.5, 2)  # seconds


def make_client(storage: Any, patience: Patience) -> Any:
    """A client of the storage's bucket; the configuration it was given overrules our defaults."""
    given = storage.client_config
    if not isinstance(given, Config):
        given = Config(**(given or {}))
    defaults = Config(
        connect_timeout=patience.connect,
        read_timeout=patience.read,
        retries={"total_max_attempts": patience.retries + 1, "mode": "standard"},
        max_pool_connections=64,  # the threads of a web process
        # S3 checks each body against the SHA-256 in its signature, as every compatible endpoint does. The
        # newer checksums, on by default, are a second pass that many endpoints refuse; downloads we verify.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version=storage.signature_version,
        proxies=storage.proxies,
    )
    # Once it is given a configuration, django-storages ignores its own options for these.
    style = Config(s3={"addressing_style": storage.addressing_style} | (given.s3 or {}))
    storage.client_config = defaults.merge(given).merge(style)
    client = storage.connection.meta.client
    pools = client._endpoint.http_session._pool_classes_by_scheme  # of proxies as well
    pools.update({scheme: guarded(pool) for scheme, pool in pools.items()})
    return client


class S3Store(ObjectStore):
    """Twins: conditional writes, on endpoints that know them; on others a look before writing."""

    def __init__(self, storage: Any, patience: Patience) -> None:
        super().__init__(storage.location)
        self._client = make_client(storage, patience)
        self._bucket = {"Bucket": storage.bucket_name}
        self._storage = storage
        self._bucket_exists = False
        self._ignores_conditions = False

    @contextmanager
    def errors(self) -> Iterator[None]:
        with storage_errors():
            try:
                yield
            except ClientError as error:
                if _code(error) in _FULL:
                    raise StorageFull from error
                raise

    def target(self, key: str) -> dict[str, str]:
        return {**self._bucket, "Key": f"{self.root}{key}"}

    def _parameters(self, key: str, file_name: str) -> dict[str, Any]:
        acl = {"ACL": self._storage.default_acl} if self._storage.default_acl else {}
        given = self._storage.get_object_parameters(f"{self.root}{key}")
        metadata = {**given.pop("Metadata", {}), **to_metadata(file_name)}
        return {**self.target(key), "ContentType": "application/octet-stream", **acl, **given, "Metadata": metadata}

    def head(self, key: str) -> StoredObject | None:
        try:
            answer = self._client.head_object(**self.target(key))
        except ClientError as error:
            self._check_missing(error)
            return None
        self._bucket_exists = True
        return StoredObject(answer["ContentLength"], answer["LastModified"], from_metadata(answer["Metadata"]))

    def _check_missing(self, error: ClientError) -> None:
        """Return if the error says that an object is missing, and not its bucket; else raise it."""
        if _code(error) not in _MISSING:
            raise error
        if not self._bucket_exists:  # the answer to HEAD has no body to say what is missing
            try:
                self._client.head_bucket(**self._bucket)
            except ClientError as bucket_error:
                if _code(bucket_error) in {*_MISSING, "NoSuchBucket"}:
                    raise StorageError("The location's bucket does not exist.") from error
            self._bucket_exists = True

    def get(self, key: str, offset: int) -> ObjectReader | None:
        byte_range = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            answer = self._client.get_object(**self.target(key), **byte_range)
        except ClientError as error:
            if _code(error) == "InvalidRange":
                return io.BytesIO()
            self._check_missing(error)
            return None
        return cast(ObjectReader, answer["Body"])

    def put(self, key: str, content: bytes, file_name: str, *, replace: bool) -> bool:
        parameters = self._parameters(key, file_name)
        return self.unless_there(
            key, replace, lambda **condition: self._client.put_object(**parameters, Body=content, **condition)
        )

    def unless_there(
        self, key: str, replace: bool, write: Callable[..., object], *, is_repeatable: bool = True
    ) -> bool:
        """Write with the condition that there is nothing under the key yet; False when there is."""
        if replace:
            write()
            return True
        try:
            return self._write_unconditionally(key, write) if self._ignores_conditions else self._write_if_new(write)
        except ClientError as error:
            if _code(error) in _NOT_UNDERSTOOD and not self._ignores_conditions:
                is_new = self._write_unconditionally(key, write)
                self._ignores_conditions = True  # only now is it certain that the condition was the reason
                return is_new
            if _code(error) != _CONFLICT:
                raise
            # A twin was writing at that moment: its object appears, or its write came to nothing.
            for pause in _CONFLICT_PAUSES:
                time.sleep(pause)
                if self.head(key) is not None:
                    return False
            if not is_repeatable:
                raise
            return self._write_if_new(write)

    def _write_if_new(self, write: Callable[..., object]) -> bool:
        try:
            write(IfNoneMatch="*")
        except ClientError as error:
            if _code(error) in _CONDITION_FAILED:
                return False
            raise
        return True

    def _write_unconditionally(self, key: str, write: Callable[..., object]) -> bool:
        if self.head(key) is not None:
            return False
        write()
        return True

    def begin(self, key: str, file_name: str) -> Parts:
        return _Multipart(self, self._client, key, self._parameters(key, file_name))

    def copy(self, source: str, target: str, file_name: str, *, replace: bool) -> bool:
        size = self._client.head_object(**self.target(source))["ContentLength"]
        parts = _Multipart(self, self._client, target, self._parameters(target, file_name))
        try:
            for start in range(0, size, COPY_BYTES):
                parts.copy(self.target(source), start, min(start + COPY_BYTES, size))
            is_new = parts.finish(replace=replace)
        except BaseException:
            parts.abort()
            raise
        if not is_new:
            parts.abort()
        return is_new

    def remove(self, key: str) -> None:
        self._client.delete_object(**self.target(key))

    def entries(self, prefix: str, after: str = "") -> Iterator[Entry]:
        start = {"StartAfter": f"{self.root}{after}"} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            **self._bucket, Prefix=f"{self.root}{prefix}", **start, PaginationConfig={"PageSize": self.page_size}
        )
        for page in pages:
            for item in page.get("Contents", ()):
                yield Entry(item["Key"].removeprefix(self.root), item["Size"], item["LastModified"])

    def abandoned(self, before: datetime) -> int:
        count = 0
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            **self._bucket, Prefix=self.root, PaginationConfig={"PageSize": self.page_size}
        )
        for page in pages:
            for upload in page.get("Uploads", ()):
                name = upload["Key"].removeprefix(self.root)
                if name.startswith((PREFIX, INCOMING)) and self._is_abandoned(upload, before):
                    self._abort(upload["Key"], upload["UploadId"])
                    count += 1
        return count

    def _is_abandoned(self, upload: dict[str, Any], before: datetime) -> bool:
        """Whether neither it nor any of its parts is younger; False also when it has ended."""
        if upload["Initiated"] >= before:
            return False
        pages = self._client.get_paginator("list_parts").paginate(
            **self._bucket,
            Key=upload["Key"],
            UploadId=upload["UploadId"],
            PaginationConfig={"PageSize": self.page_size},
        )
        try:
            return all(part["LastModified"] < before for page in pages for part in page.get("Parts", ()))
        except ClientError as error:
            if _code(error) != "NoSuchUpload":
                raise
            return False

    def _abort(self, full_key: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(**self._bucket, Key=full_key, UploadId=upload_id)
        except ClientError as error:
            if _code(error) != "NoSuchUpload":
                raise

    def abort(self, key: str, upload_id: str) -> None:
        """Abort an upload in parts, unless it has ended."""
        self._abort(f"{self.root}{key}", upload_id)


class _Multipart(Parts):
    def __init__(self, store: S3Store, client: Any, key: str, parameters: dict[str, Any]) -> None:
        self._store = store
        self._client = client
        self._key = key
        self._id = client.create_multipart_upload(**parameters)["UploadId"]
        self._upload = {**store.target(key), "UploadId": self._id}
        self._parts: list[dict[str, Any]] = []

    def add(self, part: bytes) -> None:
        number = len(self._parts) + 1
        answer = self._client.upload_part(**self._upload, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def copy(self, source: dict[str, str], start: int, end: int) -> None:
        """Add a part that is in the service already: the bytes from `start` up to `end` of an object."""
        number = len(self._parts) + 1
        answer = self._client.upload_part_copy(
            **self._upload, PartNumber=number, CopySource=source, CopySourceRange=f"bytes={start}-{end - 1}"
        )
        self._parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})

    def complete(self, last: bytes, *, replace: bool) -> bool:
        self.add(last)
        return self.finish(replace=replace)

    def finish(self, *, replace: bool) -> bool:
        """Make the object of the parts there are."""
        return self._store.unless_there(
            self._key,
            replace,
            lambda **condition: self._client.complete_multipart_upload(
                **self._upload, MultipartUpload={"Parts": self._parts}, **condition
            ),
            is_repeatable=False,  # after a conflict S3 wants all parts anew
        )

    def abort(self) -> None:
        self._store.abort(self._key, self._id)


def _code(error: ClientError) -> str:
    """The error's code; the HTTP status where there is none, as in an answer to HEAD."""
    code = error.response.get("Error", {}).get("Code")
    return str(code or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
