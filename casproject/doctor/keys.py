"""The keys: of tokens, of locations' credentials, of checkpoints."""

from collections.abc import Iterator

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from artifacts.models import Location
from artifacts.token_keys import BadKeyFile, configured_keys
from audit.keys import KeyFileError, signing_key
from casproject.doctor.findings import Finding, fail, ok, warn

TOKENS, CREDENTIALS, CHECKPOINTS = "token keys", "credential keys", "checkpoint key"
REMEDY = "docs/keys.md"


def examine_token_keys() -> Iterator[Finding]:
    """The public keys that tokens are verified with."""
    try:
        keys = configured_keys()
    except BadKeyFile as error:
        yield fail(TOKENS, str(error), "ES512 needs the control plane's public key, on curve P-521.")
        return
    if not keys:
        yield fail(TOKENS, "none: no token can be verified", "Name their files in CAS_TOKEN_KEYS (docs/keys.md).")
        return
    names = ", ".join(key.kid or "one without kid" for key in keys)
    yield ok(TOKENS, f"{len(keys)} on curve P-521: {names}")


def examine_credential_keys() -> Iterator[Finding]:
    """Whether they decrypt what they should. Raises django.db.Error."""
    encrypted = list(Location.objects.exclude(encrypted_credentials=""))
    keys = [Fernet(key) for key in settings.CAS_CREDENTIAL_KEYS]
    used = {str(location): _which(keys, location.encrypted_credentials) for location in encrypted}
    if lost := [name for name, key in used.items() if key is None]:
        yield fail(CREDENTIALS, f"none decrypts those of {', '.join(lost)}", "Put back the key that did.")
    if old := [name for name, key in used.items() if key]:
        yield warn(CREDENTIALS, f"an old one encrypts those of {', '.join(old)}", "`manage.py rotate_credentials`")
    if not lost and not old:
        yield ok(CREDENTIALS, f"{len(keys)}; the first encrypts those of {len(encrypted)} locations")


def _which(keys: list[Fernet], text: str) -> int | None:
    for position, key in enumerate(keys):
        try:
            key.decrypt(text.encode())
        except InvalidToken:
            continue
        return position
    return None


def examine_checkpoint_key() -> Iterator[Finding]:
    """The private key that signs checkpoints of the trail."""
    try:
        key = signing_key()
    except KeyFileError as error:
        yield fail(CHECKPOINTS, str(error), "`manage.py make_checkpoint_key` makes one.")
        return
    yield ok(CHECKPOINTS, "Ed25519, signs checkpoints" if key else "none: checkpoints are not signed")
