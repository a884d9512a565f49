"""The bytes of a link. A link that changes breaks every trail there is."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from audit import chain

VALUES: list[object] = [
    uuid.UUID("1089bb36-e27b-428b-8009-d015c8737c54"),
    datetime(2026, 11, 24, 15, 30, 0, 123456, UTC),
    "CASArtifactUploaded",
    None,
    "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73",
    7,
    "näme.txt",
    "FILESYSTEM",
    "default",
    False,
    "audit.casartifact.casartifactuploaded",
    "{}",
]

anything = st.one_of(
    st.none(), st.text(), st.integers(), st.booleans(), st.uuids(), st.binary(), st.datetimes(timezones=st.just(UTC))
)


def test_link_is_what_it_always_was() -> None:
    first = chain.link_of(chain.GENESIS, 1, VALUES)
    assert first.hex() == "c452782daaefc1734e88e343e8c9944c7fd24b47d981d978fdbb3b397c7cf864"
    assert chain.link_of(first, 2, VALUES).hex() == "f879b0d35ef0c011cb7ad949a27f701c99e388bc5307b390a57480ef033bdc2f"


def as_stored(value: object) -> object:
    """What a link cannot tell apart, since databases cannot."""
    match value:
        case uuid.UUID():
            return value.hex
        case bool():
            return int(value)
        case datetime():
            return chain.microseconds_of(value)
    return value


@given(one=st.lists(anything, max_size=4), other=st.lists(anything, max_size=4))
@example(one=["ab", "c"], other=["a", "bc"])
@example(one=["a", None], other=["a"])
@example(one=["1"], other=[1])
@example(one=["s1:a"], other=["a", "s1:a"])
def test_other_values_have_another_link(one: list[object], other: list[object]) -> None:
    assume([*map(as_stored, one)] != [*map(as_stored, other)])
    assert chain.link_of(chain.GENESIS, 1, one) != chain.link_of(chain.GENESIS, 1, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (uuid.UUID(int=7), uuid.UUID(int=7).hex),
        (True, 1),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 2, tzinfo=UTC) - timedelta(hours=2)),
    ],
)
def test_same_value_as_another_database_keeps_it_has_the_same_link(one: Any, other: Any) -> None:
    assert chain.link_of(chain.GENESIS, 1, [one]) == chain.link_of(chain.GENESIS, 1, [other])


def test_link_depends_on_place_and_on_the_link_before() -> None:
    links = {chain.link_of(previous, position, VALUES) for previous in (bytes(32), b"1" * 32) for position in (1, 2)}
    assert len(links) == 4


@given(st.datetimes(timezones=st.just(UTC)))
def test_time_survives_as_microseconds(time: datetime) -> None:
    assert chain.time_of(chain.microseconds_of(time)) == time
