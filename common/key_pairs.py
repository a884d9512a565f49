"""Key pairs in files, as commands make them."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.core.management.base import CommandError


def write_key_pair(key: EllipticCurvePrivateKey | Ed25519PrivateKey, private_path: Path, public_path: Path) -> None:
    """Write both halves as PEM into their folder, the private one readable by its owner alone.

    Raises CommandError: neither is ever overwritten, or they cannot be written.
    """
    folder = private_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if public_path.exists():
            raise CommandError(f"{public_path} exists; it is not overwritten.")
        private_path.touch(mode=0o600, exist_ok=False)
        private_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public_path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except FileExistsError as error:
        raise CommandError(f"{private_path} exists; it is not overwritten.") from error
    except OSError as error:
        raise CommandError(f"{folder} cannot be written to: {error.strerror}") from error
