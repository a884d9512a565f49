"""What is taken out of an error report before it leaves."""

import json
from typing import Any

from casproject.observability import errors
from common.origin import ORIGIN, REQUEST_ID


def clean(**event: Any) -> Any:
    return errors.clean(event, {})


def test_of_a_request_there_is_method_and_address() -> None:
    request = {
        "method": "GET",
        "url": "https://cas.example.com/download/sha256:ab?t=hunter2",
        "query_string": "t=hunter2",
        "headers": {"Authorization": "Bearer hunter2", "Cookie": "sessionid=hunter2"},
        "cookies": {"sessionid": "hunter2"},
        "env": {"REMOTE_ADDR": "192.0.2.1"},
        "data": "hunter2",
    }
    assert clean(request=request)["request"] == {
        "method": "GET",
        "url": "https://cas.example.com/download/sha256:ab",
    }


def test_secrets_are_taken_out_wherever_they_are() -> None:
    event = clean(
        message="Bearer hunter2 at nats://user:hunter2@host and eyJhbGciOiJFUzUxMiJ9.e30.hunter2",
        exception={"values": [{"type": "E", "value": "postgres://cas:hunter2@db/cas", "stacktrace": {"frames": []}}]},
        extra={"password": "hunter2", "deep": [{"access_token": "hunter2"}]},
    )
    assert "hunter2" not in json.dumps(event)
    assert "postgres://" in event["exception"]["values"][0]["value"]


def test_event_has_its_requests_id() -> None:
    token = ORIGIN.set({REQUEST_ID: "0123abcd"})
    try:
        assert clean(message="x")["tags"] == {"request_id": "0123abcd"}
    finally:
        ORIGIN.reset(token)
