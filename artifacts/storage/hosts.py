"""Which hosts a location's storage may be at: not the machine itself, nor a cloud's metadata, unless allowed.

Who may edit locations could else have the server ask what only it can reach, and read the answer from an error. Names
are judged by what they resolve to, at the moment of connecting: another answer a second later changes nothing, and
neither does a redirect, which is a connection too.
"""

import json
import logging
import re
import socket
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address

# Metadata services that are not link-local: AWS's by IPv6, Alibaba's; and what hides an IPv4 address (RFC 6052).
_NEVER = [ip_network("fd00:ec2::254/128"), ip_network("100.100.100.200/32"), ip_network("64:ff9b::/96")]
_URL = re.compile(r"[a-z]+://[^\s\"'\\;]+", re.IGNORECASE)
_BARE = ("custom_domain", "api_endpoint")  # options that may be a host without a scheme


class HostNotAllowed(Exception):
    """A storage is where it may not be. It names the host, and so is none of the errors that clients are shown."""


def allowed_networks() -> list[Any]:
    """Those in CAS_STORAGE_HOSTS."""
    return [ip_network(entry, strict=False) for entry in settings.CAS_STORAGE_HOSTS if is_network(entry)]


def is_network(entry: str) -> bool:
    """Whether an entry is an address or a network; else it is a pattern of names."""
    try:
        ip_network(entry, strict=False)
    except ValueError:
        return False
    return True


def require_allowed(host: str, addresses: list[str]) -> None:
    """Raise HostNotAllowed when one of the addresses of the host may not be connected to."""
    for text in addresses:
        if not _is_allowed(host, _parse(text)):
            logger.error("A storage at %s (%s) was not connected to: see CAS_STORAGE_HOSTS", host, text)
            raise HostNotAllowed(f"The storage's host {host} is not one that may be connected to.")


def hosts_in(options: Mapping[str, Any]) -> Iterator[str]:
    """Every host that a storage's options name."""
    for url in _URL.findall(json.dumps(options, ensure_ascii=False)):
        if host := _host_of(url):
            yield host
    for name in _BARE:
        value = options.get(name)
        if isinstance(value, str) and "://" not in value and (host := _host_of(f"//{value}")):
            yield host


def check_options(options: Mapping[str, Any], *, resolve: bool = False) -> None:
    """Raise HostNotAllowed for a host in a storage's options; with `resolve`, for what names now stand for as well."""
    for host in hosts_in(options):
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            addresses = _resolve(host) if resolve else _known(host)
        require_allowed(host, addresses)


def guarded(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """The same kind of pool, whose connections are only made where they may be."""
    connection: type[HTTPConnection] = pool.ConnectionCls  # type: ignore[assignment]

    class Guarded(connection):  # type: ignore[misc, valid-type]
        def _new_conn(self) -> socket.socket:
            require_allowed(self.host, _resolve(self.host))
            sock: socket.socket = super()._new_conn()
            try:  # what it resolved to this time
                require_allowed(self.host, [sock.getpeername()[0]])
            except BaseException:
                sock.close()
                raise
            return sock

    return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": Guarded})


def _is_allowed(host: str, address: Address) -> bool:
    if any(address in network for network in allowed_networks()):
        return True
    if address.is_link_local or address.is_unspecified or address.is_multicast or any(address in net for net in _NEVER):
        return False
    if address.is_loopback:
        return bool(settings.DEBUG)
    patterns = [entry for entry in settings.CAS_STORAGE_HOSTS if not is_network(entry)]
    return not settings.CAS_STORAGE_HOSTS or any(fnmatch(host.lower(), pattern.lower()) for pattern in patterns)


def _parse(text: str) -> Address:
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _resolve(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []  # connecting will say so
    return [str(entry[4][0]) for entry in found]


def _known(host: str) -> list[str]:
    """Without asking anybody: what `localhost` and numbers in odd forms (0x7f.1, 2130706433) stand for."""
    if host.lower().rstrip(".") == "localhost" or host.lower().rstrip(".").endswith(".localhost"):
        return ["127.0.0.1"]
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        return []


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
