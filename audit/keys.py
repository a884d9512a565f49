"""The key that signs checkpoints, in its file, and the public keys that check them."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from django.conf import settings

from audit.statements import KeyRing


class KeyFileError(Exception):
    """A file holds no such key, or cannot be read; the text says which and why, and nothing of the key."""


def signing_key() -> Ed25519PrivateKey | None:
    """The key of CAS_CHECKPOINT_KEY, None when that is not set; raises KeyFileError."""
    if not settings.CAS_CHECKPOINT_KEY:
        return None
    path = Path(settings.CAS_CHECKPOINT_KEY)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path} holds no private key in PEM without a password.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a private key that is not Ed25519.")
    return key


def known_keys(key: Ed25519PrivateKey | None) -> KeyRing:
    """The public halves of this key, that of CAS_CHECKPOINT_KEY, and of those before it; raises KeyFileError."""
    earlier = [read_public_key(Path(path)) for path in settings.CAS_CHECKPOINT_PUBLIC_KEYS]
    return KeyRing([*([key.public_key()] if key else []), *earlier])


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file; raises KeyFileError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise KeyFileError(f"{path} holds no public key in PEM.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} holds a public key that is not Ed25519.")
    return key
