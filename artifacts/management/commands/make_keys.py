"""Makes what a development stack, or a first production one, needs in keys."""

import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

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
        folder.mkdir(parents=True, exist_ok=True)
        if public_path.exists():
            raise CommandError(f"{public_path} exists; it is not overwritten.")
        key = ec.generate_private_key(ec.SECP521R1())
        try:
            private_path.touch(mode=0o600, exist_ok=False)
        except FileExistsError as error:
            raise CommandError(f"{private_path} exists; it is not overwritten.") from error
        private_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public_path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        self.stderr.write(f"Wrote {private_path} and {public_path}.")
        self.stdout.write(f"CAS_TOKEN_KEYS={public_path.absolute()}")
        self.stdout.write(f"CAS_SECRET_KEY={secrets.token_urlsafe(50)}")
        self.stdout.write(f"CAS_CREDENTIAL_KEYS={Fernet.generate_key().decode()}")
