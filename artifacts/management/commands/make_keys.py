"""Makes what a development stack, or a first production one, needs in keys."""

import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.management.base import BaseCommand

from common.key_pairs import write_key_pair

PRIVATE_KEY = "token-private.pem"
PUBLIC_KEY = "token-public.pem"


class Command(BaseCommand):
    help = (
        "Make a P-521 key pair for tokens in <folder>, and print a secret key and a credential key as settings. "
        "In production the private key belongs to the control plane, not to this server."
    )
    requires_system_checks = []  # it makes what the checks ask for

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", nargs="?", type=Path, default=settings.CAS_DATA_DIR / "keys")

    def handle(self, *, folder: Path, **options: Any) -> None:
        """Write the pair, the private key readable by its owner alone; never overwrite one."""
        private_path, public_path = folder / PRIVATE_KEY, folder / PUBLIC_KEY
        write_key_pair(ec.generate_private_key(ec.SECP521R1()), private_path, public_path)
        self.stderr.write(f"Wrote {private_path} and {public_path}.")
        self.stdout.write(f"CAS_TOKEN_KEYS={public_path.absolute()}")
        self.stdout.write(f"CAS_SECRET_KEY={secrets.token_urlsafe(50)}")
        self.stdout.write(f"CAS_CREDENTIAL_KEYS={Fernet.generate_key().decode()}")
