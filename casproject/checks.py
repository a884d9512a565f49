"""System checks of what the whole project stands on."""

import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured


@register
def check_secret_key(**kwargs: Any) -> list[CheckMessage]:
    """E001: no secret key."""
    try:
        settings.SECRET_KEY  # noqa: B018  (Django refuses to hand out an empty one)
    except ImproperlyConfigured:
        hint = "`manage.py make_keys` makes one; keep it secret, and the same on every machine."
        return [Error("CAS_SECRET_KEY is empty.", hint=hint, id="casproject.E001")]
    return []


@register
def check_data_dir(**kwargs: Any) -> list[CheckMessage]:
    """E002: the data folder is missing or cannot be written to."""
    if settings.CAS_DATA_DIR.is_dir() and os.access(settings.CAS_DATA_DIR, os.W_OK | os.X_OK):
        return []
    message = f"CAS_DATA_DIR: {settings.CAS_DATA_DIR} is not a folder that can be written to."
    return [Error(message, hint="Create it, and give it to the user that this process runs as.", id="casproject.E002")]
