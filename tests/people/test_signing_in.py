"""Signing in: who is let in, how often one may guess, and what of it is in the trail."""

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from casproject.variables import env
from people import tasks, throttle
from people.models import SignInFailures
from tests.people.conftest import PASSWORD, acts, is_in

pytestmark = pytest.mark.django_db
Enter = Callable[..., Client]
Make = Callable[..., User]


def tried(client: Client, name: str = "ada", password: str = "wrong", **headers: Any) -> str:  # noqa: S107
    """The page that a try leads to."""
    return client.post("/admin/login/", {"username": name, "password": password}, **headers).content.decode()


def asked(name: str, password: str = PASSWORD, path: str = "/api/events/") -> Any:
    """The API's answer to this name and password."""
    value = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Client().get(path, headers={"Authorization": f"Basic {value}"})


def test_who_signs_in_and_out_is_in_the_trail(person: Make, sign_in: Enter) -> None:
    person()
    client = sign_in()
    assert is_in(client)
    (event,) = acts("CASUserSignedIn")
    data = json.loads(event.payload)["Data"]
    assert (data["ActorName"], data["Info"]["address"], data["Info"]["two_factor"]) == ("ada", "127.0.0.1", "none")
    client.post("/admin/logout/")
    assert not is_in(client)
    assert len(acts("CASUserSignedOut")) == 1


def test_the_shortest_and_the_longest_session_that_may_be_set_hold(
    person: Make, sign_in: Enter, settings: Settings
) -> None:
    person()
    ends = env.variables["CAS_SESSION_HOURS"]
    assert ends.at_least is not None
    assert ends.at_most is not None
    for hours, least in ((ends.at_least, timedelta(seconds=59)), (ends.at_most, timedelta(days=36500))):
        settings.SESSION_COOKIE_AGE = int(hours * 3600)
        client = sign_in()
        assert is_in(client)
        session = Session.objects.get(pk=client.cookies[settings.SESSION_COOKIE_NAME].value)
        assert session.expire_date - timezone.now() > least


def test_a_wrong_password_is_in_the_trail_and_never_itself(person: Make, sign_in: Enter) -> None:
    person()
    assert not is_in(sign_in(password="s3cr3t-guess"))
    (event,) = acts("CASUserSignInFailed")
    assert "ada" in event.payload
    assert "s3cr3t-guess" not in event.payload


def test_a_refusal_names_the_fields_that_it_speaks_of(person: Make) -> None:
    person()
    assert "Note that name and password may be case-sensitive." in tried(Client(), "ada")


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_after_some_failures_even_the_right_password_waits(person: Make, name: str) -> None:
    person()
    client = Client()
    for _ in range(5):
        assert "Please enter the correct" in tried(client, name) or "Too many" in tried(client, name)
    assert "Too many attempts. Try again in 1 minute." in tried(client, name, PASSWORD)
    assert len(acts("CASUserLockedOut")) == 1
    failures = len(acts("CASUserSignInFailed"))
    tried(client, name)
    assert len(acts("CASUserSignInFailed")) == failures, "a locked name does not fill the trail"


def test_another_address_is_not_locked_out(person: Make) -> None:
    person()
    for _ in range(6):
        tried(Client(), REMOTE_ADDR="203.0.113.7")
    assert "Too many" in tried(Client(), "ada", PASSWORD, REMOTE_ADDR="203.0.113.7")
    client = Client()
    tried(client, "ada", PASSWORD, REMOTE_ADDR="203.0.113.8")
    assert is_in(client)


def test_one_address_guesses_of_few_names(db: None) -> None:
    for number in range(20):
        tried(Client(), f"name{number}", REMOTE_ADDR="2001:db8:1:2::1")
    assert "Too many" in tried(Client(), "another", REMOTE_ADDR="2001:db8:1:2:ffff::9"), "of the same /64"
    assert "Too many" not in tried(Client(), "another", REMOTE_ADDR="2001:db8:1:3::1")


def test_one_name_is_guessed_from_few_addresses(person: Make) -> None:
    person()
    for number in range(50):
        tried(Client(), REMOTE_ADDR=f"198.51.100.{number}")
    assert "Too many" in tried(Client(), "ADA ", PASSWORD, REMOTE_ADDR="203.0.113.9")


def test_a_forwarded_address_is_believed_behind_a_proxy_alone(person: Make, settings: Settings) -> None:
    for number in range(6):
        tried(Client(), HTTP_X_FORWARDED_FOR=f"203.0.113.{number}")
    assert "Too many" in tried(Client(), HTTP_X_FORWARDED_FOR="203.0.113.99")
    settings.CAS_BEHIND_PROXY = True
    assert "Too many" not in tried(Client(), HTTP_X_FORWARDED_FOR="203.0.113.99")


def test_locks_grow_and_end(person: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = throttle.counters("ada", "203.0.113.7")
    lengths = []
    for _ in range(8):
        throttle.failed(counted)
        until = throttle.locked_until(counted)
        lengths.append((until - timezone.now()).total_seconds() if until else 0)
    assert lengths[:4] == [0] * 4
    assert lengths[4:] == pytest.approx([30, 60, 120, 240], abs=5)
    SignInFailures.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
    assert throttle.locked_until(counted) is None
    SignInFailures.objects.update(last_at=timezone.now() - timedelta(hours=2))
    throttle.failed(counted)
    assert throttle.locked_until(counted) is None, "an hour without a failure forgets the earlier ones"


def test_signing_in_forgets_the_failures_of_the_name(person: Make, sign_in: Enter) -> None:
    person()
    for _ in range(4):
        tried(Client())
    assert is_in(sign_in())
    for _ in range(4):
        tried(Client())
    assert is_in(sign_in())


def test_locks_are_ended_by_a_command(person: Make, sign_in: Enter) -> None:
    person()
    for _ in range(5):
        tried(Client())
    out = StringIO()
    call_command("unlock_sign_in", "ada", stdout=out)
    assert out.getvalue() == "1 lock ended.\n"
    assert is_in(sign_in())


@pytest.mark.django_db(transaction=True)
def test_failures_at_the_same_time_are_all_counted() -> None:
    counted = throttle.counters("ada", "203.0.113.7")

    def fail() -> None:
        throttle.failed(counted)
        connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: fail(), range(8)))
    assert SignInFailures.objects.get(key=counted[0].key).failures == 8


def test_upkeep_removes_what_is_over(person: Make, sign_in: Enter) -> None:
    person()
    tried(Client())
    client = sign_in()
    SignInFailures.objects.update(last_at=timezone.now() - timedelta(hours=3))
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - timedelta(days=1))
    tasks.sweep()
    assert not SignInFailures.objects.exists()
    assert Session.objects.count() == 1
    assert is_in(client)


def test_basic_authentication_of_the_api_is_throttled_too(person: Make) -> None:
    person("ada", "Viewer")

    assert asked("ada").status_code == 200
    assert [asked("ada", "wrong").status_code for _ in range(5)] == [401] * 4 + [429]
    locked = asked("ada")
    assert (locked.status_code, locked.json()["code"]) == (429, "throttled")
    assert "Too many attempts" in locked.json()["detail"]
    assert 0 < int(locked["Retry-After"]) <= 30
    assert len(acts("CASUserSignInFailed")) == 4
    assert len(acts("CASUserLockedOut")) == 1


def test_the_api_locks_names_that_nobody_has_alike(db: None) -> None:
    assert [asked("nobody").status_code for _ in range(6)] == [401] * 4 + [429] * 2


def test_the_api_tells_nobody_that_a_password_is_right(person: Make, settings: Settings) -> None:
    person("ada", "Viewer")
    settings.CAS_REQUIRE_TWO_FACTOR = True
    refused = [asked(name, password).json() for name in ("ada", "nobody") for password in (PASSWORD, "wrong")]
    assert refused == refused[:1] * 4
    assert "accounts of scripts have the role Script" in refused[0]["detail"]


@pytest.mark.parametrize("is_required", [True, False])
def test_a_scripts_password_opens_the_api_alone(
    person: Make, sign_in: Enter, settings: Settings, is_required: bool
) -> None:
    person("robot", "Script")
    settings.CAS_REQUIRE_TWO_FACTOR = is_required
    assert [asked("robot", path=f"/api/{path}/").status_code for path in ("events", "usage")] == [200, 200]
    for code in ("", "123456"):
        client = sign_in("robot", code=code)
        assert "_auth_user_id" not in client.session
        assert client.get("/api/events/").status_code == 401
    assert acts("CASUserSignedIn") == []


def test_who_becomes_a_script_is_signed_out(person: Make, sign_in: Enter) -> None:
    user = person("ada", "Viewer")
    client = sign_in()
    assert is_in(client)
    user.groups.add(Group.objects.get(name="Script"))
    assert not is_in(client)
    assert client.get("/api/events/").status_code == 401


def test_a_new_password_ends_other_sessions(person: Make, sign_in: Enter) -> None:
    person()
    one, other = sign_in(), sign_in()
    new = "another horse battery staple"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert one.post("/admin/password_change/", form).status_code == 302
    assert is_in(one)
    assert not is_in(other)
    assert len(acts("CASUserPasswordChanged")) == 1


def test_signing_out_everywhere_ends_all_sessions(person: Make, sign_in: Enter) -> None:
    person()
    person("bob")
    one, other, bobs = sign_in(), sign_in(), sign_in("bob")
    one.post("/admin/sign-out-everywhere/")
    assert [is_in(client) for client in (one, other, bobs)] == [False, False, True]
    assert one.get("/admin/sign-out-everywhere/").status_code in {302, 405}
    assert len(acts("CASUserSignedOutEverywhere")) == 1


def test_what_is_changed_in_the_admin_is_in_the_trail(person: Make, client: Client) -> None:
    client.force_login(person("root", is_superuser=True))
    form = {"username": "bob", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/admin/auth/user/add/", form).status_code == 302
    bob, carl = User.objects.get(username="bob"), person("carl")
    rest = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
    rest |= {"organization_limit-TOTAL_FORMS": "0", "organization_limit-INITIAL_FORMS": "0"}
    client.post(f"/admin/auth/user/{bob.pk}/change/", {"username": "bob", "first_name": "Robert", **rest})
    chosen = {"action": "delete_selected", "_selected_action": [bob.pk, carl.pk], "post": "yes"}
    client.post("/admin/auth/user/", chosen)
    (added,), (changed,), deleted = acts("CASUserAdded"), acts("CASUserChanged"), acts("CASUserDeleted")
    assert json.loads(added.payload)["Data"]["Info"]["target_name"] == "bob"
    assert "First name" in json.loads(changed.payload)["Data"]["Info"]["fields"]
    assert {json.loads(each.payload)["Data"]["Info"]["target_name"] for each in deleted} == {"bob", "carl"}
    assert PASSWORD not in added.payload + changed.payload
