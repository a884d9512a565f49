"""System checks of the token keys, the credential keys and the storage classes."""

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.db import DatabaseError
from django.utils.module_loading import import_string

from artifacts.credentials import CredentialsUnreadable
from artifacts.models import Location
from artifacts.storage.hosts import HostNotAllowed, check_options, is_network
from artifacts.token_keys import BadKeyFile, key_files, load_keys


@register
def check_token_keys(**kwargs: Any) -> list[CheckMessage]:
    """E001: no key file; E002: a key file that cannot be used."""
    if not settings.CAS_TOKEN_KEYS:
        return [
            Error(
                "CAS_TOKEN_KEYS is empty: no token could be verified.",
                hint="Name files or folders of public keys, PEM or JWKS; `manage.py make_keys` makes a pair.",
                id="artifacts.E001",
            )
        ]
    messages: list[CheckMessage] = []
    for name in settings.CAS_TOKEN_KEYS:
        try:
            for path in key_files([name]):
                load_keys(path)
        except BadKeyFile as error:
            messages.append(
                Error(
                    f"CAS_TOKEN_KEYS: {error}",
                    hint="ES512 needs an EC key on curve P-521 (secp521r1).",
                    id="artifacts.E002",
                )
            )
    return messages


@register
def check_credential_keys(**kwargs: Any) -> list[CheckMessage]:
    """E003: a key that is no Fernet key; W001: none, so that locations cannot hold credentials."""
    messages: list[CheckMessage] = []
    for position, key in enumerate(settings.CAS_CREDENTIAL_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            messages.append(
                Error(
                    f"CAS_CREDENTIAL_KEYS: key {position} is not 32 url-safe base64-encoded bytes.",
                    hint="`manage.py make_keys` makes one.",
                    id="artifacts.E003",
                )
            )
    if not settings.CAS_CREDENTIAL_KEYS:
        messages.append(
            checks.Warning(
                "CAS_CREDENTIAL_KEYS is empty: locations cannot hold credentials.",
                hint="`manage.py make_keys` makes one.",
                id="artifacts.W001",
            )
        )
    return messages


@register
def check_storage_backends(**kwargs: Any) -> list[CheckMessage]:
    """E004: a storage class that cannot be imported."""
    messages: list[CheckMessage] = []
    for name, path in settings.CAS_STORAGE_BACKENDS.items():
        try:
            import_string(path)
        except Exception as error:  # noqa: BLE001  (its module may raise anything)
            messages.append(
                Error(
                    f"CAS_STORAGE_BACKENDS: {name}: {error}",
                    hint="The form is NAME=package.module.StorageClass, separated by commas.",
                    id="artifacts.E004",
                )
            )
    return messages


@register
def check_allowed_hosts(**kwargs: Any) -> list[CheckMessage]:
    """E006: an entry of CAS_STORAGE_HOSTS that is neither a name nor a network."""
    return [
        Error(
            f"CAS_STORAGE_HOSTS: {entry} is neither a name nor a network.",
            hint="Such as *.amazonaws.com, minio.example.com, 10.0.0.0/8; no scheme, no port.",
            id="artifacts.E006",
        )
        for entry in settings.CAS_STORAGE_HOSTS
        if not is_network(entry) and ("/" in entry or ":" in entry)
    ]


@register(checks.Tags.database)
def check_storage_hosts(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W002: a location whose storage may not be connected to; asked of the database when that is checked."""
    if not databases:
        return []
    messages: list[CheckMessage] = []
    for location in _locations():
        try:
            check_options({**location.options, **location.credentials})
        except HostNotAllowed as error:
            hint = "Change its options, or add the host to CAS_STORAGE_HOSTS."
            messages.append(checks.Warning(f"Location {location}: {error}", hint=hint, id="artifacts.W002"))
        except CredentialsUnreadable:
            continue  # told wherever it is used
    return messages


def _locations() -> list[Location]:
    try:
        return list(Location.objects.all())
    except DatabaseError:  # not migrated yet
        return []
