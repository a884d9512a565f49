"""NATS' keys: Ed25519 in base32, with a prefix that says of what, and a checksum. Pure.

The encoding is that of https://github.com/nats-io/nkeys.
"""

import base64
import binascii
import re

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

USER = 20 << 3

_SEED = 18 << 3
_LENGTH = 32  # bytes of a key
_JWT = re.compile(r"-+BEGIN NATS USER JWT-+\s+([\w-]+\.[\w-]+\.[\w-]+)\s+-+END NATS USER JWT-+")
_SEED_BLOCK = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\w+)\s+-+END USER NKEY SEED-+")


def read_seed(text: str) -> Ed25519PrivateKey:
    """The key of a user's seed, as `nk -gen user` makes them; raises ValueError, which tells nothing of it."""
    seed = text.strip().encode()
    raw = base64.b32decode(seed + b"=" * (-len(seed) % 8))
    body, checksum = raw[:-2], raw[-2:]
    if len(body) != 2 + _LENGTH or binascii.crc_hqx(body, 0).to_bytes(2, "little") != checksum:
        raise ValueError("not a seed")
    if (body[0] & 0xF8, (body[0] & 7) << 5 | body[1] >> 3) != (_SEED, USER):
        raise ValueError("the seed of something else than a user")
    return Ed25519PrivateKey.from_private_bytes(body[2:])


def public_nkey(key: Ed25519PrivateKey, kind: int = USER) -> str:
    """Its public half, such as UABC…, by which the server knows it."""
    return _encode(bytes([kind]) + key.public_key().public_bytes_raw())


def read_credentials_file(text: str) -> tuple[str, Ed25519PrivateKey]:
    """The user's JWT and key of a `.creds` file; raises ValueError, which tells nothing of them."""
    jwt, seed = _JWT.search(text), _SEED_BLOCK.search(text)
    if jwt is None or seed is None:
        raise ValueError("not a file of credentials")
    return jwt[1], read_seed(seed[1])


def _encode(body: bytes) -> str:
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).rstrip(b"=").decode()
