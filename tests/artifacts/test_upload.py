"""PUT and POST through Django's test client; what needs a real server is in tests/functional."""

from pathlib import Path

import pytest
from django.test import Client

from artifacts.models import Artifact, Location
from artifacts.tokens import UPLOADER
from tests.factories import bearer, digest_of

pytestmark = pytest.mark.django_db


def test_put_stores_the_bytes_under_their_digest(client: Client, location: Location, root: Path) -> None:
    content = b"some content"
    digest = digest_of(content)
    answer = client.put(f"/artifacts/{digest}?filename=a.txt", content, headers=bearer(UPLOADER))
    assert answer.status_code == 201
    assert answer.json() == {"digest": str(digest), "size_bytes": 12, "file_name": "a.txt", "skipped": False}
    assert (root / "sha256" / digest.hex[:2] / digest.hex).read_bytes() == content
    assert Artifact.objects.get().file_name == "a.txt"
    assert location.artifacts.count() == 1
