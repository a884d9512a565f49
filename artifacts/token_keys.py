"""The public keys that tokens are verified with: from files, PEM or JWKS (RFC 7517), or folders of them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings

ALGORITHM = "ES512"

_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


class BadKeyFile(Exception):
    """A key file is missing, unreadable, or holds no P-521 public key."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key, and the `kid` it goes by: None for a PEM file's."""

    public_key: EllipticCurvePublicKey
    kid: str | None = None


def configured_keys() -> list[TokenKey]:
    """All that CAS_TOKEN_KEYS names; raises BadKeyFile."""
    return [key for path in key_files(settings.CAS_TOKEN_KEYS) for key in load_keys(path)]


def key_files(names: Sequence[str]) -> list[Path]:
    """These files, and in place of a folder the files in it; raises BadKeyFile.

    Names that begin with a dot are left out: Kubernetes keeps such beside the keys of a secret.
    """
    found: list[Path] = []
    for path in map(Path, names):
        if not path.is_dir():
            found.append(path)
            continue
        try:
            files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        except OSError as error:
            raise BadKeyFile(f"{path} cannot be read.") from error
        if not files:
            raise BadKeyFile(f"{path} is a folder without a key file.")
        found += files
    return found


def load_keys(path: Path) -> list[TokenKey]:
    """Read a PEM or JWKS file; raise BadKeyFile. Of several keys those for other algorithms are left out."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path} cannot be read.") from error
    keys = _jwks_keys(path, text) if text.lstrip().startswith("{") else _pem_keys(path, text)
    if not keys:
        raise BadKeyFile(f"{path} holds no P-521 public key, which {ALGORITHM} needs.")
    return keys


def _pem_keys(path: Path, text: str) -> list[TokenKey]:
    blocks = [match[0] for match in _PEM.finditer(text)]
    if any("PRIVATE KEY" in block for block in blocks):
        raise BadKeyFile(f"{path} holds a private key; the control plane's public key is all that is needed.")
    try:
        keys = [load_pem_public_key(block.encode()) for block in blocks or [text]]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKeyFile(f"{path} is neither a PEM public key nor a JWKS.") from error
    return [
        TokenKey(key) for key in keys if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP521R1)
    ]


def _jwks_keys(path: Path, text: str) -> list[TokenKey]:
    try:
        entries = json.loads(text)["keys"]
        ours = [jwk for jwk in entries if jwk.get("kty") == "EC" and jwk.get("crv") == "P-521"]
        return [TokenKey(jwt.PyJWK(jwk, ALGORITHM).key, jwk.get("kid")) for jwk in ours]
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise BadKeyFile(f"{path} is not a JWKS.") from error
