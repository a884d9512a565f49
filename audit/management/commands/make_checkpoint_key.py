"""Makes the key that signs checkpoints of the trail."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.management.base import BaseCommand

from common.key_pairs import write_key_pair

PRIVATE_KEY = "checkpoint-private.pem"
PUBLIC_KEY = "checkpoint-public.pem"


class Command(BaseCommand):
    help = (
        "Make an Ed25519 key pair for checkpoints in <folder>, and print the setting. `verify_trail` needs the public "
        "key: keep it where whoever can write to the database cannot."
    )
    requires_system_checks = []  # it makes what the checks ask for

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", nargs="?", type=Path, default=settings.CAS_DATA_DIR / "keys")

    def handle(self, *, folder: Path, **options: Any) -> None:
        """Write the pair, the private key readable by its owner alone; never overwrite one."""
        private_path, public_path = folder / PRIVATE_KEY, folder / PUBLIC_KEY
        write_key_pair(Ed25519PrivateKey.generate(), private_path, public_path)
        self.stderr.write(f"Wrote {private_path} and {public_path}.")
        self.stdout.write(f"CAS_CHECKPOINT_KEY={private_path.absolute()}")
