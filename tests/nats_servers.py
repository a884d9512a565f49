"""What NATS servers of tests are guarded by: certificates, JWTs of an operator, a cluster."""

import base64
import ipaddress
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit import nkeys
from tests.servers import NatsServer, free_port

UNLIMITED = -1
ACCOUNT, OPERATOR = 0, 14 << 3  # kinds of keys

_MANY = {
    **dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), UNLIMITED),
    "wildcards": True,
}
_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), UNLIMITED)


class Authority:
    """A certificate authority in a folder, which signs for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, self._key, name, self._key, is_authority=True)
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, self.name, self._key)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    if not is_authority:
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@dataclass(frozen=True)
class Operator:
    """An operator with one account with JetStream, as `nsc` would make them: JWTs signed by NKEYs.

    https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt
    """

    key: Ed25519PrivateKey
    account_key: Ed25519PrivateKey
    system_key: Ed25519PrivateKey

    @classmethod
    def make(cls) -> "Operator":
        return cls(*(Ed25519PrivateKey.generate() for _ in range(3)))

    @property
    def configuration(self) -> str:
        """The server's, with a resolver that knows the account by heart."""
        operator, account = nkeys.public_nkey(*self._operator), nkeys.public_nkey(*self._account)
        system = nkeys.public_nkey(self.system_key, ACCOUNT)
        operator_jwt = _jwt(self._operator, operator, {"type": "operator", "version": 2})
        claims = {"type": "account", "version": 2, "limits": {**_MANY, **_JETSTREAM}}
        account_jwt = _jwt(self._operator, account, claims)
        system_jwt = _jwt(self._operator, system, {"type": "account", "version": 2, "limits": _MANY})
        accounts = f"{{ {account}: {account_jwt}, {system}: {system_jwt} }}"
        return f"operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {accounts}\n"

    def credentials(self, publish: list[str] | None = None) -> str:
        """A user's `.creds` file; `publish` is all that the user may publish to, None means everything."""
        key = Ed25519PrivateKey.generate()
        claims = {
            "type": "user",
            "version": 2,
            "sub": {},
            "pub": {"allow": publish} if publish else {},
            **dict.fromkeys(("subs", "data", "payload"), UNLIMITED),
        }
        jwt = _jwt(self._account, nkeys.public_nkey(key), claims)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\nKeep it.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{write_seed(key)}\n------END USER NKEY SEED------\n"
        )

    @property
    def _operator(self) -> tuple[Ed25519PrivateKey, int]:
        return self.key, OPERATOR

    @property
    def _account(self) -> tuple[Ed25519PrivateKey, int]:
        return self.account_key, ACCOUNT


def write_seed(key: Ed25519PrivateKey, kind: int = nkeys.USER) -> str:
    """Its seed, such as SUABC…."""
    return nkeys._encode(bytes([nkeys._SEED | kind >> 5, (kind & 31) << 3]) + key.private_bytes_raw())


def _jwt(issuer: tuple[Ed25519PrivateKey, int], subject: str, claims: dict[str, Any]) -> str:
    body = {"iss": nkeys.public_nkey(*issuer), "sub": subject, "name": "test", "jti": "1", "nats": claims}
    parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, {**body, "iat": int(time.time())})
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(issuer[0].sign(signed.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_cluster(folder: Path, size: int = 3) -> list[NatsServer]:
    """Servers that know each other; not started."""
    routes = [f"nats://127.0.0.1:{free_port()}" for _ in range(size)]
    return [
        NatsServer(
            folder / f"n{number}",
            *("--name", f"n{number}", "--cluster_name", "tests", "--cluster", route, "--routes", ",".join(routes)),
        )
        for number, route in enumerate(routes)
    ]
