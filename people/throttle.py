"""Guessing passwords is slow: after some failures a name, an address, or both together wait before the next try.

Counted in the database, so for all web processes together (OWASP, Authentication Cheat Sheet, "Account Lockout"). Few
failures of one name from one address lock only these two together: nobody locks others out from somewhere else, until
there are so many that somebody is guessing from everywhere.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from people.models import SignInFailures

FORGOTTEN = timedelta(hours=1)  # without a failure
FIRST = timedelta(seconds=30)  # how long the first lock holds; each failure more doubles it
LONGEST = timedelta(hours=1)
_IPV6_NETWORK = 64  # bits: what one customer is given

_COUNT = f"""
    INSERT INTO {SignInFailures._meta.db_table} AS kept (key, failures, last_at) VALUES (%s, 1, %s)
    ON CONFLICT (key) DO UPDATE SET
        failures = CASE WHEN kept.last_at < %s THEN 1 ELSE kept.failures + 1 END, last_at = excluded.last_at
    RETURNING failures
"""  # noqa: S608  (only the table's own name is put in)


class Counter(NamedTuple):
    """What failures are counted of, and how many are free."""

    key: str
    free: int


def counters(name: str, address: str) -> list[Counter]:
    """Of a sign-in with this user name from this IP address ("": unknown)."""
    name, network = name.strip().casefold(), _network(address)
    return [
        Counter(_key("pair", name, network), 5),
        Counter(_key("address", network), 20),
        Counter(_key("name", name), 50),
    ]


def locked_until(counted: Sequence[Counter]) -> datetime | None:
    """Until when none of these may try; None: now is fine."""
    locks = SignInFailures.objects.filter(key__in=[each.key for each in counted], locked_until__gt=timezone.now())
    return max((lock for lock in locks.values_list("locked_until", flat=True) if lock), default=None)


def failed(counted: Sequence[Counter]) -> bool:
    """Count a failure of each; return whether one is locked from now on, and was not before."""
    now, is_new = timezone.now(), False
    for each in sorted(counted):  # in one order, so that two do not wait for each other
        with connection.cursor() as cursor:
            adapt = connection.ops.adapt_datetimefield_value
            cursor.execute(_COUNT, [each.key, adapt(now), adapt(now - FORGOTTEN)])
            (failures,) = cursor.fetchone()
        if failures >= each.free:
            lock = min(FIRST * 2 ** min(failures - each.free, 20), LONGEST)
            SignInFailures.objects.filter(key=each.key).update(locked_until=now + lock)
            is_new |= failures == each.free
    return is_new


def succeeded(counted: Sequence[Counter]) -> None:
    """Forget the failures of this name; an address keeps its own, or one account would free it for the others."""
    pair, _, name = counted
    SignInFailures.objects.filter(key__in=[pair.key, name.key]).delete()


def unlock(name: str) -> int:
    """Forget all failures: hashes do not tell which addresses tried a name; return how many locks there were."""
    key = _key("name", name.strip().casefold())
    SignInFailures.objects.filter(key=key).delete()
    count, _ = SignInFailures.objects.filter(locked_until__gt=timezone.now()).delete()
    return count


def sweep() -> None:
    """Remove what is forgotten."""
    SignInFailures.objects.filter(last_at__lt=timezone.now() - FORGOTTEN - LONGEST).delete()


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
    return str(parsed)
