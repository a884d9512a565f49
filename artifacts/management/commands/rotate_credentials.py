"""Moves every location's credentials to the first of CAS_CREDENTIAL_KEYS."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from artifacts.credentials import CredentialsUnreadable, rotate
from artifacts.models import Location


class Command(BaseCommand):
    help = (
        "Encrypt all location credentials anew with the first of CAS_CREDENTIAL_KEYS. To rotate: put the new key "
        "first, restart, run this, then take the old key out."
    )

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        """Rotate all or none; fail naming the location that no key decrypts."""
        locations = Location.objects.select_for_update().exclude(encrypted_credentials="")
        for location in locations:
            try:
                location.encrypted_credentials = rotate(location.encrypted_credentials)
            except CredentialsUnreadable as error:
                raise CommandError(f"{location}: none of CAS_CREDENTIAL_KEYS decrypts its credentials.") from error
            except ImproperlyConfigured as error:
                raise CommandError(str(error)) from error
            location.save(update_fields=["encrypted_credentials", "updated_at"])
        self.stdout.write(f"Rotated the credentials of {len(locations)} location(s).")
