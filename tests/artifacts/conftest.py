from collections.abc import Callable, Iterator

import pytest

from artifacts.storage import Store
from artifacts.storage.backends import find_backend
from tests.object_servers import AzureService, GoogleService, ObjectService, S3Service
from tests.wanting import skip_without

SERVICES: dict[str, type[ObjectService]] = {
    service.kind: service for service in (S3Service, AzureService, GoogleService)
}


class Services:
    """The object services of a test run, each started when it is first wanted."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._running: dict[str, ObjectService] = {}

    def get(self, kind: str) -> ObjectService:
        if kind not in self._running:
            missing = SERVICES[kind].missing
            if missing:
                skip_without(missing)
            service = SERVICES[kind](self._factory.mktemp(kind))
            service.start()
            self._running[kind] = service
        return self._running[kind]

    def stop(self) -> None:
        for service in self._running.values():
            service.stop()


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = Services(tmp_path_factory)
    yield services
    services.stop()


@pytest.fixture(params=sorted(SERVICES))
def service(request: pytest.FixtureRequest, services: Services, monkeypatch: pytest.MonkeyPatch) -> ObjectService:
    """Each object service in turn."""
    service = services.get(request.param)
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    return service


@pytest.fixture
def bucket(service: ObjectService) -> str:
    """The name of an empty bucket of the service."""
    return service.new_bucket()


@pytest.fixture
def make_store(service: ObjectService, bucket: str) -> Callable[..., Store]:
    """Makes stores over the bucket, with further options; `port` is that of a proxy."""

    def make(port: int = 0, **options: object) -> Store:
        return find_backend(service.kind).make_store({**service.options(bucket, port), **options})

    return make


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()
