"""The list of artifacts looks at so many of them and no more, whatever is asked for."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from artifacts.admin import artifact_list
from artifacts.models import Artifact, Location
from tests.factories import digest_of
from tests.plans import plans_of

pytestmark = pytest.mark.django_db

LIST = reverse("admin:artifacts_artifact_changelist")
DIGEST = digest_of(b"0").hex  # of the oldest
UNIQUE = "one_artifact_per_digest" if connection.vendor == "postgresql" else "(digest>? AND digest<?)"
NAME = f"commit-{digest_of(b'name').hex[:8]}.txt"


@pytest.fixture
def client(admin_client: Client) -> Client:
    return admin_client


@pytest.fixture(autouse=True)
def artifacts(location: Location, monkeypatch: pytest.MonkeyPatch) -> list[Artifact]:
    """Ten, of which the list looks at three where it has no index."""
    monkeypatch.setattr(artifact_list, "LOOKED_AT", 3)
    if connection.vendor == "postgresql":  # what other tests left of theirs would have a say in the plans
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {Artifact._meta.db_table} CASCADE")
    Location.objects.create(name="other", backend="FILESYSTEM", options={"location": "/srv"})
    return [
        Artifact.objects.create(
            location=location, digest=digest_of(str(number).encode()).hex, size_bytes=1, file_name=NAME
        )
        for number in range(10)
    ]


def listed(client: Client, **query: str) -> list[Artifact]:
    return list(client.get(LIST, query).context["cl"].result_list)


def told(client: Client, **query: str) -> str:
    """What stands below the list."""
    page = " ".join(client.get(LIST, query).content.decode().split())
    return page.partition('<p class="paginator">')[2].partition("</p>")[0].strip()


def mark(artifact: Artifact, **values: Any) -> None:
    Artifact.objects.filter(pk=artifact.pk).update(**values)


@pytest.mark.parametrize("query", [{"q": "commit"}, {"state": "unverified"}, {"file_name__startswith": "commit"}])
def test_where_no_index_knows_the_newest_are_looked_at_and_the_page_says_so(
    client: Client, artifacts: list[Artifact], query: dict[str, str]
) -> None:
    assert listed(client, **query) == artifacts[:6:-1]
    assert told(client, **query).startswith("3 artifacts among the newest 3; a whole digest finds any")
    assert listed(client, **query, o="0") == artifacts[:3]
    assert told(client, **query, o="0").startswith("3 artifacts among the oldest 3; a whole digest finds any")


def test_all_are_listed_and_none_is_said_to_be_left_out(client: Client, artifacts: list[Artifact]) -> None:
    assert listed(client) == artifacts[::-1]
    assert told(client) == "10 artifacts"
    Artifact.objects.filter(pk__in=[each.pk for each in artifacts[3:]]).delete()
    assert told(client, q="commit") == "3 artifacts"


@pytest.mark.parametrize("state", ["corrupt", "missing"])
def test_a_state_that_is_rare_is_found_wherever_it_is(client: Client, artifacts: list[Artifact], state: str) -> None:
    assert told(client, state=state) == "0 artifacts"
    mark(artifacts[0], **{f"{state}_at": timezone.now()})
    assert listed(client, state=state) == [artifacts[0]]
    assert listed(client, state=state, q="commit") == [artifacts[0]]
    assert listed(client, state=state, location__id__exact=str(artifacts[0].location_id)) == [artifacts[0]]
    Artifact.objects.update(**{f"{state}_at": timezone.now()})
    assert told(client, state=state).startswith("3 artifacts among the newest 3 of this state;")


def test_of_a_location_its_own_newest_are_looked_at(client: Client, artifacts: list[Artifact]) -> None:
    other = Location.objects.get(name="other")
    Artifact.objects.filter(pk__in=[each.pk for each in artifacts[:2]]).update(location=other)
    query = {"location__id__exact": str(other.pk)}
    assert listed(client, **query, q="commit") == artifacts[1::-1]
    assert told(client, **query, q="commit") == "2 artifacts"
    query = {"location__id__exact": str(artifacts[2].location_id)}
    assert told(client, **query, q="commit").startswith("3 artifacts among the newest 3 of this location;")


@pytest.mark.parametrize("term", [DIGEST, f"sha256:{DIGEST}", DIGEST[:8].upper(), f" SHA256:{DIGEST[:12]} "])
def test_a_digest_is_found_wherever_it_is(client: Client, artifacts: list[Artifact], term: str) -> None:
    assert listed(client, q=term) == [artifacts[0]]
    assert told(client, q=term) == "1 artifact by digest; file names were not searched"
    assert listed(client, q=term, state="corrupt") == []


@pytest.mark.parametrize("order", ["4", "-4", "4.0", "x"])
def test_a_column_that_no_index_serves_is_no_order(client: Client, artifacts: list[Artifact], order: str) -> None:
    other = Location.objects.get(name="other")
    Artifact.objects.filter(pk__in=[each.pk for each in artifacts[::2]]).update(location=other)
    ids = [each.pk for each in listed(client, o=order)]
    assert ids in (sorted(ids), sorted(ids, reverse=True))


def test_digits_that_are_no_digests_are_part_of_a_file_name(client: Client, artifacts: list[Artifact]) -> None:
    digits = NAME[7:15]
    assert listed(client, q=digits) == artifacts[:6:-1]
    assert listed(client, q=f"sha256:{digits}") == []


def plans_of_page(client: Client, query: dict[str, str]) -> list[tuple[str, str]]:
    """The page's queries of artifacts, and what the database would do for each."""
    return plans_of(lambda: client.get(LIST, query), about='FROM "artifacts_artifact"')


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({"state": "corrupt"}, "artifact_corrupt"),
        ({"state": "missing"}, "artifact_missing"),
        ({"state": "corrupt", "location__id__exact": "1"}, "artifact_corrupt"),
        ({"state": "missing", "q": "no-such-name"}, "artifact_missing"),
        ({"state": "sound"}, ""),
        ({"state": "unverified"}, ""),
        ({"q": "no-such-name"}, ""),
        ({"q": DIGEST}, UNIQUE),
        ({"q": f"sha256:{DIGEST[:8]}"}, UNIQUE),
        ({"q": DIGEST[:8], "state": "corrupt"}, UNIQUE),
    ],
)
def test_no_query_with_a_condition_reads_the_whole_table(client: Client, query: dict[str, str], index: str) -> None:
    plans = plans_of_page(client, query)
    assert plans
    for sql, plan in plans:
        if "WHERE" in sql:
            assert "Seq Scan on artifacts_artifact" not in plan
            assert not re.search("SCAN artifacts_artifact(?! USING (COVERING )?INDEX artifact_(corrupt|missing))", plan)
            assert re.search("Index Cond|SEARCH|artifact_corrupt|artifact_missing", plan), f"{sql}\n{plan}"
    if index in {"artifact_corrupt", "artifact_missing"}:
        assert all(index in plan for _, plan in plans)
    assert any(index in plan for _, plan in plans)


@pytest.mark.parametrize("query", [{"q": "no-such-name"}, {"q": "cafe"}, {"state": "unverified"}, {"state": "sound"}])
def test_of_a_location_no_more_is_read_than_is_looked_at(client: Client, location: Location, query: Any) -> None:
    plans = plans_of_page(client, {"location__id__exact": str(location.pk), **query})
    bounded = [plan for sql, plan in plans if "file_name" in sql or "verified_at" in sql]
    assert len(bounded) >= 2
    for plan in bounded:
        assert re.search(r"id>\? AND id<\?|\(id >= \d+\) AND \(id <= \d+\)", plan)
        assert "(location_id=?)" not in plan
