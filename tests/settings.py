"""Settings of the test suite: the project's own, over a folder and keys made for this run."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

_data = Path(tempfile.mkdtemp(prefix="cas-tests-"))
atexit.register(shutil.rmtree, _data, ignore_errors=True)
(_data / "keys").mkdir()
_key = ec.generate_private_key(ec.SECP521R1())
(_data / "keys" / "token-private.pem").write_bytes(
    _key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
)
(_data / "keys" / "token-public.pem").write_bytes(
    _key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)

for _name in [name for name in os.environ if name.startswith(("CAS_", "NATS_", "CELERY_", "OTEL_", "SENTRY_"))]:
    del os.environ[_name]  # a developer's stack must not leak into the tests
os.environ["CAS_DATA_DIR"] = str(_data)
os.environ["CAS_STORAGE_HOSTS"] = "*,127.0.0.0/8,::1"  # object services of the tests
os.environ["CAS_SECRET_KEY"] = "only-for-tests-0123456789abcdefghijklmnop"
os.environ["CAS_TOKEN_KEYS"] = str(_data / "keys" / "token-public.pem")
os.environ["CAS_CREDENTIAL_KEYS"] = Fernet.generate_key().decode()

from casproject.settings import *  # noqa: E402, F403

if not os.environ.get("DATABASE_URL"):
    # A file, as in production: threads have connections of their own, and wait for locks.
    DATABASES["default"]["TEST"] = {"NAME": str(_data / "test.sqlite3")}  # noqa: F405
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one is slow on purpose
