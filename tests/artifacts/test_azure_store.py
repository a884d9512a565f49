"""What is Azure's own: blocks that twins share, copies that take their time, its client's configuration."""

import socket
import traceback
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from artifacts.exceptions import StorageError
from artifacts.storage.azure import AzureStore
from artifacts.storage.backends import find_backend
from tests.artifacts.conftest import Services
from tests.artifacts.test_object_stores import CONTENT, DIGEST, LARGE, LARGE_DIGEST, QUICK, blocks_of, put, read
from tests.object_servers import AzureService


@pytest.fixture
def service(services: Services) -> AzureService:
    service = services.get("AzureBlob")
    assert isinstance(service, AzureService)
    return service


@pytest.fixture
def bucket(service: AzureService) -> str:
    return service.new_bucket()


def make_store(service: AzureService, bucket: str, **options: Any) -> AzureStore:
    store = find_backend("AzureBlob").make_store({**service.options(bucket), **options})
    assert isinstance(store, AzureStore)
    return store


@pytest.fixture
def store(service: AzureService, bucket: str) -> AzureStore:
    return make_store(service, bucket)


def test_wrong_credentials_are_a_storage_error(service: AzureService, bucket: str) -> None:
    store = make_store(service, bucket, connection_string=service.connection_string(key="d3Jvbmc="), **QUICK)
    for use in (lambda: store.stat(DIGEST), lambda: store.open(DIGEST), lambda: put(store, CONTENT)):
        with pytest.raises(StorageError):
            use()


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "absent"])
def test_signature_in_addresses_is_in_no_error(is_silent: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if is_silent else 1
        connection = f"BlobEndpoint=http://127.0.0.1:{port}/a;SharedAccessSignature=sv=2022&sig=hunter2&sp=r"
        store = find_backend("AzureBlob").make_store({"azure_container": "c", "connection_string": connection, **QUICK})
        with pytest.raises(StorageError) as caught:
            store.stat(DIGEST)
    text = "".join(traceback.format_exception(caught.value))
    assert "127.0.0.1" in text
    assert "hunter2" not in text


def test_blocks_that_a_twins_commit_dropped_are_its_success(store: AzureStore) -> None:
    with store.stage(LARGE_DIGEST) as ours, store.stage(LARGE_DIGEST) as twin:
        for block in blocks_of(LARGE):
            ours.write(block)
            twin.write(block)
        assert twin.place(LARGE_DIGEST) is True
        assert ours.place(LARGE_DIGEST) is False
    assert read(store, LARGE_DIGEST) == LARGE


def test_blocks_that_are_gone_without_a_twin_are_an_error(store: AzureStore) -> None:
    with store.stage(LARGE_DIGEST) as ours:
        for block in blocks_of(LARGE):
            ours.write(block)
        put(store, LARGE, digest=LARGE_DIGEST)
        store.delete(LARGE_DIGEST)
        with pytest.raises(StorageError):
            ours.place(LARGE_DIGEST)
    assert store.stat(LARGE_DIGEST) is None


class _SlowCopy:
    """Stands before a real blob whose copy is not done at once, as across Azure's own stamps."""

    def __init__(self, blob: Any, states: list[str]) -> None:
        self._blob = blob
        self._states = states
        self.aborted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blob, name)

    def start_copy_from_url(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        return {**self._blob.start_copy_from_url(*arguments, **options), "copy_status": "pending"}

    def get_blob_properties(self) -> Any:
        found = self._blob.get_blob_properties()
        found.copy.status = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return found

    def abort_copy(self, copy_id: str) -> None:
        if self._states[0] != "pending":
            error = HttpResponseError("There is no pending copy.")
            error.error_code = "NoPendingCopyOperation"  # type: ignore[attr-defined]  # as the SDK sets it
            raise error
        self._states = ["aborted"]
        self.aborted = True


@pytest.mark.parametrize("state", ["success", "failed", "pending"])
def test_copy_is_waited_for(store: AzureStore, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr("artifacts.storage.azure.COPY_SECONDS", 1 if state == "pending" else 60)
    blob_of = store.blob
    slow = _SlowCopy(blob_of(str(LARGE_DIGEST)), ["pending", state])
    monkeypatch.setattr(store, "blob", lambda key: slow if key == str(LARGE_DIGEST) else blob_of(key))
    if state == "success":
        assert put(store, LARGE) is True
        return
    with pytest.raises(StorageError):
        put(store, LARGE)
    assert slow.aborted == (state == "pending")
    monkeypatch.undo()
    assert store.stat(LARGE_DIGEST) is None


class _Breaking(_SlowCopy):
    """The first look at its copy breaks off; the next ones find the state `after`."""

    def __init__(self, blob: Any, error: BaseException, after: str) -> None:
        super().__init__(blob, [after])
        self._error: BaseException | None = error

    def get_blob_properties(self) -> Any:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return super().get_blob_properties()


@pytest.mark.parametrize("error", [HttpResponseError("no"), KeyboardInterrupt()], ids=["service", "process"])
@pytest.mark.parametrize("after", ["pending", "failed", "success"])
def test_copy_that_is_not_waited_for_leaves_nothing_in_the_way(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch, error: BaseException, after: str
) -> None:
    """But one that has arrived by then stays: others may have found it."""
    blob_of = store.blob
    breaking = _Breaking(blob_of(str(LARGE_DIGEST)), error, after)
    monkeypatch.setattr(store, "blob", lambda key: breaking if key == str(LARGE_DIGEST) else blob_of(key))
    with pytest.raises((StorageError, KeyboardInterrupt)):
        put(store, LARGE)
    assert breaking.aborted == (after == "pending")
    monkeypatch.undo()
    assert (store.stat(LARGE_DIGEST) is not None) == (after == "success")
    assert put(store, LARGE) == (after != "success")


def test_blob_whose_copy_has_not_arrived_is_not_there(store: AzureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, CONTENT)
    slow = _SlowCopy(store.blob(str(DIGEST)), ["pending"])
    monkeypatch.setattr(store, "blob", lambda key: slow)
    assert store.stat(DIGEST) is None


def test_failed_block_fails_the_upload(store: AzureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(_SlowCopy):
        def stage_block(self, *_: object, **__: object) -> None:
            raise HttpResponseError("no")

    blob_of = store.blob
    monkeypatch.setattr(store, "blob", lambda key: Refusing(blob_of(key), []))
    with pytest.raises(StorageError):
        put(store, LARGE, digest=LARGE_DIGEST)


def test_account_and_client_options_are_those_of_django_storages(service: AzureService, bucket: str) -> None:
    options = {"account_name": service.account, "account_key": service.key, "client_options": {"read_timeout": 7}}
    store = find_backend("AzureBlob").make_store({"azure_container": bucket, **options})
    assert isinstance(store, AzureStore)
    container = store._container
    assert container.url == f"https://{service.account}.blob.core.windows.net/{bucket}"
    transport = container._pipeline._transport._transport  # the container shares its service's
    assert (transport.connection_config.timeout, transport.connection_config.read_timeout) == (5, 7)
    assert find_backend("AzureBlob").make_store({"azure_container": bucket, **options}) is not store


def test_object_parameters_hold_for_every_upload(service: AzureService, bucket: str) -> None:
    store = make_store(service, bucket, object_parameters={"cache_control": "private"})
    put(store, CONTENT)
    put(store, LARGE)
    for digest in (DIGEST, LARGE_DIGEST):
        settings = service.container(bucket).get_blob_client(str(digest)).get_blob_properties().content_settings
        assert (settings.cache_control, settings.content_type) == ("private", "application/octet-stream")
