"""Rows behind the pages: what is usual, what went wrong, and what somebody named to break a page."""

import uuid
from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from artifacts.models import Artifact, Location, Scrub
from audit.events import Action
from audit.models import AuditEvent, Organization, State
from tests.factories import ORGANIZATION, digest_of, make_row

HOSTILE = "<script>console.error('run')</script>\u202egpj.exe"
LONG = f"{'a-very-long-name-' * 12}.tar.zst"
CONTENT = b"an SBOM of something"


class World:
    def __init__(self, location: Location) -> None:
        self.location = location
        location.quota_bytes, location.organization = 10_000_000, ORGANIZATION
        location.credentials = {"secret_key": "swordfish-4711"}
        location.save()
        self.artifact = self._store(CONTENT, HOSTILE)
        self._store(b"damaged", LONG, corrupt_at=timezone.now())
        self._store(b"gone", "", missing_at=timezone.now())
        self.organization = Organization.objects.create(pk=ORGANIZATION, display_name="Aurora <b>Robotics</b>")
        self.other = Organization.objects.create(pk=uuid.UUID(int=7))
        self.event = self._event(State.PUBLISHED, file_name=HOSTILE)
        self._event(State.PUBLISHED, skipped=True)
        self._event(State.FAILED, action=Action.DOWNLOADED)
        self._event(State.LOCAL, org_id=self.other.pk, file_name=LONG)
        self._event(State.PENDING, digest=digest_of(b"other").hex, size_bytes=7_000_000_000)
        self.viewer = User.objects.create_user("viewer", is_staff=True)
        self.scrub = Scrub.objects.create(location=location, finished_at=timezone.now(), checked=3, corrupt=1)

    def _store(self, content: bytes, file_name: str, **times: object) -> Artifact:
        hexdigest = digest_of(content).hex
        values = {"size_bytes": len(content), "file_name": file_name, "verified_at": timezone.now(), **times}
        return Artifact.objects.create(location=self.location, digest=hexdigest, **values)

    @staticmethod
    def _event(state: State, **values: object) -> AuditEvent:
        row = make_row(state, **{"digest": digest_of(CONTENT).hex, "size_bytes": len(CONTENT), **values})
        if state is State.FAILED:
            AuditEvent.objects.filter(pk=row.pk).update(attempts=3, last_error="maximum payload exceeded")
        if state is State.PUBLISHED:
            sent = timezone.now() + timedelta(seconds=1)
            AuditEvent.objects.filter(pk=row.pk).update(stream_sequence=row.pk, published_at=sent)
        return row
