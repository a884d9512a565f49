"""Names of organizations: looked up for a page at once, and found by a part of them."""

import uuid

import pytest
from pytest_django import DjangoAssertNumQueries

from audit import organizations
from audit.models import Organization

pytestmark = pytest.mark.django_db

ACME = uuid.UUID("aaaa1111-0000-4000-8000-000000000001")
OTHER = uuid.UUID("bbbb2222-0000-4000-8000-000000000002")
NAMELESS = uuid.UUID("cccc3333-0000-4000-8000-000000000003")


@pytest.fixture(autouse=True)
def _organizations() -> None:
    for key, name in ((ACME, "Acme 100% Works"), (OTHER, "acme_labs"), (NAMELESS, "")):
        Organization.objects.create(org_id=key, display_name=name)


def test_names_of_a_page_are_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        names = organizations.names_of([ACME, OTHER, NAMELESS, uuid.uuid4(), None, ACME])
    assert names == {ACME: "Acme 100% Works", OTHER: "acme_labs"}


def test_names_of_nothing_are_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert organizations.names_of([None]) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ACME", [ACME, OTHER]),
        (" works ", [ACME]),
        ("%", [ACME]),
        ("_", [OTHER]),
        ("aaaa", [ACME]),
        ("BBBB2222-00", [OTHER]),
        ("bbbb22220000", [OTHER]),
        ("bbb", []),
        ("dddd", []),
        (str(NAMELESS), [NAMELESS]),
        (NAMELESS.hex, [NAMELESS]),
        ("", []),
        ("  ", []),
    ],
)
def test_organizations_are_found_by_name_and_by_id(text: str, found: list[uuid.UUID]) -> None:
    assert organizations.ids_named(text) == found


def test_whole_id_is_found_without_a_row() -> None:
    unknown = uuid.uuid4()
    assert organizations.ids_named(str(unknown)) == [unknown]


def test_search_finds_only_what_is_allowed() -> None:
    assert organizations.ids_named("acme", [OTHER]) == [OTHER]
    assert organizations.ids_named("acme", []) == []
    assert organizations.ids_named(str(ACME), [OTHER]) == []
    assert organizations.ids_named(str(ACME), [ACME]) == [ACME]


def test_search_is_bounded() -> None:
    Organization.objects.bulk_create(Organization(org_id=uuid.uuid4(), display_name="many") for _ in range(60))
    assert len(organizations.ids_named("many")) == organizations.MOST
