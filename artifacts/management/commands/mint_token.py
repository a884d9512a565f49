"""Plays the control plane in development: mints a token."""

import re
import time
import uuid
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from artifacts.management.commands.make_keys import PRIVATE_KEY
from artifacts.token_keys import ALGORITHM
from artifacts.tokens import AUDIENCE, DOWNLOADER, UPLOADER
from common.organization_ids import parse_organization

DEVELOPMENT_ORGANIZATION = uuid.UUID("1089bb36-e27b-428b-8009-d015c8737c54")

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """Read `90`, `90s`, `15m`, `1h` or `7d`; raise ArgumentTypeError."""
    match = re.fullmatch(r"(\d+)([smhd]?)", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a time such as 90s, 15m, 1h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def size(text: str) -> int:
    """Read a number of bytes; raise ArgumentTypeError."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a number of bytes")
    return int(text)


def load_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a PEM file; raise CommandError when it holds no P-521 private key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise CommandError(f"{path} cannot be read; `make run` or `manage.py make_keys` makes it.") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CommandError(f"{path} is not a PEM private key.") from error
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP521R1):
        raise CommandError(f"{path} holds no P-521 private key, which {ALGORITHM} needs.")
    return key


class Command(BaseCommand):
    help = "Print a token, and nothing else on standard output, signed with the development stack's private key."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--role", choices=[UPLOADER, DOWNLOADER], default=UPLOADER)
        parser.add_argument("--org", default=str(DEVELOPMENT_ORGANIZATION), help="organization (default: %(default)s)")
        parser.add_argument("--backend", default="FILESYSTEM", help="kind of location (default: %(default)s)")
        parser.add_argument("--secret-id", default="default", help="the location's name (default: %(default)s)")
        parser.add_argument("--max-bytes", type=size, default=0, help="largest upload; 0: no limit (default)")
        parser.add_argument("--source-internal", action="store_true", help="the control plane's own traffic: no events")
        parser.add_argument("--expires-in", type=seconds, default=3600, help="such as 90s, 15m, 1h, 7d (default: 1h)")
        parser.add_argument("--key", type=Path, default=settings.CAS_DATA_DIR / "keys" / PRIVATE_KEY)

    def handle(self, *, key: Path, expires_in: int, **options: Any) -> None:
        """Print the token; fail when there is no private key that can sign it."""
        private_key = load_private_key(key)
        now = int(time.time())
        claims = {
            "iss": settings.CAS_TOKEN_ISSUER or "development",
            "aud": [AUDIENCE],
            "iat": now,
            "exp": now + expires_in,
            "role": options["role"],
            "backend": options["backend"],
            "secret-id": options["secret_id"],
            "maxbytes": options["max_bytes"],
            "org-id": options["org"],
        }
        if options["source_internal"]:
            claims["source-internal"] = True
        elif parse_organization(options["org"]) is None:
            warning = f"{options['org']!r} is not a UUID: transfers with this token leave no audit event."
            self.stderr.write(self.style.WARNING(warning))
        self.stdout.write(jwt.encode(claims, private_key, ALGORITHM))
