"""Things that tests need many of, with defaults that do not matter to them."""

import os
import time
import uuid
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from django.conf import settings
from django.db import connection

from artifacts.digests import Digest
from artifacts.token_keys import ALGORITHM
from artifacts.tokens import AUDIENCE, DOWNLOADER, UPLOADER, Grant
from audit.events import Action, Event
from audit.models import AuditEvent, State

ORGANIZATION = uuid.UUID("1089bb36-e27b-428b-8009-d015c8737c54")


def digest_of(content: bytes) -> Digest:
    return Digest(sha256(content).hexdigest())


def stored_at(root: Path, content: bytes) -> Path:
    """Where a FILESYSTEM location in `root` keeps this content."""
    hexdigest = digest_of(content).hex
    return root / "sha256" / hexdigest[:2] / hexdigest


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def make_token(role: str = UPLOADER, *, key: str = "", headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token that is valid unless `claims` make it otherwise; a claim of None is left out."""
    everything = {
        "aud": [AUDIENCE],
        "exp": int(time.time()) + 600,
        "role": role,
        "backend": "FILESYSTEM",
        "secret-id": "default",
        "org-id": str(ORGANIZATION),
        **claims,
    }
    payload = {name: value for name, value in everything.items() if value is not None}
    private_key = key or (settings.CAS_DATA_DIR / "keys" / "token-private.pem").read_text()
    return jwt.encode(payload, private_key, ALGORITHM, headers)


def bearer(role: str = UPLOADER, **claims: Any) -> dict[str, str]:
    """Headers for Django's test client."""
    assert "PYTEST_CURRENT_TEST" in os.environ, "a token made at import expires before a slow run comes to its test"
    return {"Authorization": f"Bearer {make_token(role, **claims)}"}


def make_grant(role: str = DOWNLOADER, **values: Any) -> Grant:
    return Grant(
        **{"role": role, "backend": "FILESYSTEM", "secret_id": "default", "org_id": str(ORGANIZATION), **values}
    )


def make_event(**values: Any) -> Event:
    return Event(
        **{
            "event_id": uuid.uuid4(),
            "timestamp_ns": time.time_ns(),
            "action": Action.UPLOADED,
            "org_id": ORGANIZATION,
            "digest": digest_of(b"content").hex,
            "size_bytes": 7,
            "file_name": "content.txt",
            "backend": "FILESYSTEM",
            "location": "default",
            **values,
        }
    )


def make_row(state: State = State.PENDING, **values: Any) -> AuditEvent:
    """A saved row of the trail."""
    row = AuditEvent.of(make_event(**values), state)
    row.save()
    return row


def database_url() -> str:
    """A DATABASE_URL of the test database, for another process."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    return f"postgres://{values['USER']}@{values['HOST']}:{values['PORT']}/{values['NAME']}"
