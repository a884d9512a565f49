"""What people do in the admin, written into the trail as any other event, and published as one.

`record` is for whoever adds something that a person can do; `describe` for whoever shows the trail.
"""

import ipaddress
import json
import logging
import time
import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Model
from django.http import HttpRequest

from audit.act_events import Act, Actor, Target, act_event, words_of
from audit.keeping import keep
from audit.models import AuditEvent, State

__all__ = ["Act", "Description", "Target", "address_of", "describe", "record"]

logger = logging.getLogger(__name__)


def record(
    request: HttpRequest | None,
    act: Act,
    subject: Model | Target | str,
    *,
    actor: AbstractBaseUser | None = None,
    org_id: uuid.UUID | None = None,
    **details: Any,
) -> None:
    """Write one event of what the request's user did to `subject`; whatever happens, nothing is raised.

    The subject is a row, a Target, or a kind of things in the plural, such as "events". `actor` wins over the
    request's user. Details go into the event's `Info` and are published: never a password, a key or a credential.
    Inside a transaction the event becomes part of it; what the database does not take goes to the journal.
    """
    request = getattr(request, "_request", request)  # of REST framework's, to ask for the user is to authenticate
    try:
        target = _target_of(subject)
        event = act_event(uuid.uuid4(), time.time_ns(), act, target, _actor_of(request, actor), org_id, details)
        keep(event, AuditEvent.column_values(event, State.of_new_events()))
    except Exception:  # what was done has happened, or is about to: it must not fail because of its record
        logger.critical("This act is not in the trail: %s of %.200r", act, subject, exc_info=True)


def _target_of(subject: Model | Target | str) -> Target:
    if isinstance(subject, Target):
        return subject
    if isinstance(subject, Model):
        return Target(str(subject._meta.object_name), "" if subject.pk is None else str(subject.pk), str(subject))
    return Target("".join(word.capitalize() for word in subject.split()))


def _actor_of(request: HttpRequest | None, user: Any) -> Actor:
    if user is None:
        user = getattr(request, "user", None)
    address = address_of(request) if request is not None else ""
    if user is None or user.pk is None:
        return Actor(address=address)
    return Actor(str(user.pk), user.get_username(), getattr(user, "email", "") or "", address)


def address_of(request: HttpRequest) -> str:
    """The client's IP address; "" when it has none. Behind a proxy it is the one that the proxy saw: the last."""
    address: str = request.META.get("REMOTE_ADDR", "")
    if settings.CAS_BEHIND_PROXY and (forwarded := request.headers.get("X-Forwarded-For")):
        address = forwarded.rpartition(",")[2]
    try:
        return str(ipaddress.ip_address(address.strip()))
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Description:
    """An act in words: who did it ("" when that is not known), and what. Both may hold any characters."""

    who: str
    what: str


def describe(event: AuditEvent) -> Description | None:
    """What a person did, of an event that records an act; None for any other, and for what only looks like one."""
    act = act_of(event.action)
    if act is None:
        return None
    try:
        data = json.loads(event.payload)["Data"]
        kind, info, who = str(data["TargetType"]).removeprefix("CAS"), data["Info"], str(data["ActorName"])
        return Description(who, words_of(act, kind, str(info.get("target_name", ""))))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # others publish anything


def act_of(action: str) -> Act | None:
    """The act that an action type ends with."""
    return next((act for act in _LONGEST_FIRST if action.startswith("CAS") and action.endswith(act)), None)


_LONGEST_FIRST = sorted(Act, key=len, reverse=True)
