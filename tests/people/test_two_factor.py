"""Two-factor: turning it on, what it takes from then on, and what no session gets around."""

import base64
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from people import two_factor
from tests.people.conftest import PASSWORD, acts, is_in

pytestmark = pytest.mark.django_db
Enter = Callable[..., Client]
PAGE = "/admin/two-factor/"


def code_of(user: User, drift: int = 0) -> str:
    """What the authenticator app shows; a drift apart for each use, for each works once."""
    device = TOTPDevice.objects.get(user=user)
    return f"{totp(device.bin_key, drift=drift):06}"


def forget_uses(user: User) -> None:
    TOTPDevice.objects.filter(user=user).update(last_t=-1, throttling_failure_count=0)


def turn_on(client: Client, user: User) -> list[str]:
    """The recovery codes."""
    client.get(PAGE)
    page = client.post(PAGE, {"act": "on", "code": code_of(user)}).content.decode()
    forget_uses(user)
    return re.findall(r"<li><code>([a-z0-9-]+)</code></li>", page)


@pytest.fixture
def ada(person: Callable[..., User]) -> User:
    return person("ada", "Viewer")


def test_it_is_turned_on_with_a_code_of_the_app(ada: User, sign_in: Enter) -> None:
    client = sign_in()
    page = client.get(PAGE).content.decode()
    secret = re.search(r"Key: <code>([A-Z2-7 ]+)</code>", page)
    assert secret
    assert base64.b32decode(secret[1].replace(" ", "")) == TOTPDevice.objects.get(user=ada).bin_key
    assert "<svg" in page
    assert not re.search(r"<svg[^>]*style=", page)
    assert "This code does not fit" in client.post(PAGE, {"act": "on", "code": "000000"}).content.decode()
    forget_uses(ada)
    codes = turn_on(client, ada)
    assert len(set(codes)) == 10
    assert codes[0] not in client.get(PAGE).content.decode(), "shown once"
    assert is_in(client)
    assert len(acts("CASUserTwoFactorEnabled")) == 1


@pytest.mark.django_db(transaction=True)
def test_visits_at_once_are_of_one_device(ada: User) -> None:
    visits = 8
    start = Barrier(visits)

    def visit(number: int) -> int:
        start.wait(10)
        try:
            return int(two_factor.pending(ada).pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(visits) as pool:
        seen = set(pool.map(visit, range(visits)))
    assert seen == set(TOTPDevice.objects.values_list("pk", flat=True))
    assert len(seen) == 1


def test_several_devices_that_wait_are_as_good_as_one(ada: User, sign_in: Enter) -> None:
    client = sign_in()
    shown, other = (TOTPDevice.objects.create(user=ada, confirmed=False) for _ in range(2))
    assert client.get(PAGE).status_code == 200
    code = f"{totp(shown.bin_key):06}"
    assert client.post(PAGE, {"act": "on", "code": code}).status_code == 200
    assert is_in(client)
    assert two_factor.device_of(ada) == shown
    assert not TOTPDevice.objects.filter(pk=other.pk).exists(), "its key is nobody's"


def test_then_the_password_alone_opens_nothing(ada: User, sign_in: Enter) -> None:
    before, client = sign_in(), sign_in()
    turn_on(client, ada)
    assert not is_in(before), "a session of before has not met it"
    assert before.get("/api/events/").status_code == 401
    assert not is_in(sign_in())
    assert not is_in(sign_in(code="123456"))
    forget_uses(ada)
    assert is_in(sign_in(code=code_of(ada)))
    value = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    assert Client().get("/api/events/", headers={"Authorization": f"Basic {value}"}).status_code == 401


def test_each_code_works_once(ada: User, sign_in: Enter) -> None:
    turn_on(sign_in(), ada)
    code = code_of(ada)
    assert is_in(sign_in(code=f" {code[:3]} {code[3:]} "))
    assert not is_in(sign_in(code=code))


def test_a_recovery_code_works_once(ada: User, sign_in: Enter) -> None:
    code = turn_on(sign_in(), ada)[0]
    client = sign_in(code=code.upper())
    assert is_in(client)
    assert "Recovery codes left: 9." in client.get(PAGE).content.decode()
    assert not is_in(sign_in(code=code))


def test_guessing_codes_locks_out(ada: User, sign_in: Enter) -> None:
    turn_on(sign_in(), ada)
    for number in range(5):
        sign_in(code=f"{number:06}")
    forget_uses(ada)
    assert not is_in(sign_in(code=code_of(ada)))
    assert len(acts("CASUserLockedOut")) == 1


def test_new_recovery_codes_replace_the_old(ada: User, sign_in: Enter) -> None:
    client = sign_in()
    old = turn_on(client, ada)
    page = client.post(PAGE, {"act": "codes", "code": code_of(ada)}).content.decode()
    new = re.findall(r"<li><code>([a-z0-9-]+)</code></li>", page)
    assert len(new) == 10
    assert not is_in(sign_in(code=old[0]))
    assert is_in(sign_in(code=new[0]))
    assert len(acts("CASUserRecoveryCodesMade")) == 1


def test_new_recovery_codes_leave_a_session_that_one_of_the_old_opened(ada: User, sign_in: Enter) -> None:
    client = sign_in(code=turn_on(sign_in(), ada)[0])
    assert is_in(client)
    client.post(PAGE, {"act": "codes", "code": code_of(ada)})
    assert is_in(client)


def test_it_is_turned_off_with_a_code_alone(ada: User, sign_in: Enter) -> None:
    client = sign_in()
    turn_on(client, ada)
    client.post(PAGE, {"act": "off", "code": "000000"})
    assert not is_in(sign_in())
    forget_uses(ada)
    client.post(PAGE, {"act": "off", "code": code_of(ada)})
    assert is_in(sign_in())
    assert len(acts("CASUserTwoFactorDisabled")) == 1


def test_an_administrator_resets_it(ada: User, person: Callable[..., User], sign_in: Enter, client: Client) -> None:
    theirs = sign_in()
    turn_on(theirs, ada)
    client.force_login(person("root", is_superuser=True))
    client.post("/admin/auth/user/", {"action": "reset_two_factor", "_selected_action": [ada.pk]})
    assert not is_in(theirs)
    assert is_in(sign_in())
    assert len(acts("CASUserTwoFactorReset")) == 1


def test_where_it_is_required_nothing_else_comes_first(ada: User, sign_in: Enter, settings: Settings) -> None:
    settings.CAS_REQUIRE_TWO_FACTOR = True
    client = sign_in()
    for path in ("/admin/", "/admin/audit/auditevent/", "/api/events/"):
        answer = client.get(path)
        assert (answer.status_code, answer["Location"]) == (302, PAGE)
    assert "Everybody here signs in with two factors" in client.get(PAGE).content.decode()
    value = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    assert Client().get("/api/events/", headers={"Authorization": f"Basic {value}"}).status_code == 401
    assert len(turn_on(client, ada)) == 10
    assert is_in(client)


def test_nobody_turns_it_on_for_a_session_that_is_not_signed_in(client: Client, ada: User) -> None:
    assert client.get(PAGE).status_code == 302
    assert not TOTPDevice.objects.exists()
