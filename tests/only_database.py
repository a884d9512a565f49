"""A plugin of pytest (`-p tests.only_database`): leaves out what asks for no database, and is the same on any."""

import pytest

_FIXTURES = {"db", "transactional_db"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        asks = item.get_closest_marker("django_db") or _FIXTURES.intersection(getattr(item, "fixturenames", ()))
        (kept if asks else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = kept
