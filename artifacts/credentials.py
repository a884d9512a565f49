"""Encryption of location credentials at rest, by Fernet keys from the environment (CAS_CREDENTIAL_KEYS)."""

import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class CredentialsUnreadable(Exception):
    """No configured key decrypts these credentials."""


def encrypt(credentials: dict[str, Any]) -> str:
    """Encrypt with the first key; raise ImproperlyConfigured when there is none."""
    return _fernet().encrypt(json.dumps(credentials).encode()).decode()


def decrypt(token: str) -> dict[str, Any]:
    """Decrypt with whichever key fits; raise CredentialsUnreadable when none does."""
    try:
        credentials: dict[str, Any] = json.loads(_fernet().decrypt(token.encode()))
    except InvalidToken as error:
        raise CredentialsUnreadable from error
    return credentials


def rotate(token: str) -> str:
    """Encrypt anew with the first key; raise CredentialsUnreadable when no key decrypts it."""
    try:
        return _fernet().rotate(token.encode()).decode()
    except InvalidToken as error:
        raise CredentialsUnreadable from error


def _fernet() -> MultiFernet:
    if not settings.CAS_CREDENTIAL_KEYS:
        raise ImproperlyConfigured("CAS_CREDENTIAL_KEYS is empty; location credentials need a key.")
    return MultiFernet([Fernet(key) for key in settings.CAS_CREDENTIAL_KEYS])
