"""What the environment may say: each variable, typed, with what it means. docs/configuration.md is made of this."""

from pathlib import Path
from typing import Any

from casproject.environment import LOG_LEVELS, Environment, read_file

BASE_DIR = Path(__file__).resolve().parent.parent
CENTURY = 36525  # days
MINUTE = 0.02  # hours, a little more than one

env = Environment()

env.section("Where it keeps what is its own")
CAS_DATA_DIR = Path(
    env.str(
        "CAS_DATA_DIR",
        default=str(BASE_DIR / "var"),
        shown="./var",
        help="SQLite, the embedded broker, what waits for the database (`write-ahead`, `journal`, `labels`), the last "
        "checkpoint, staging of uploads to `CAS_STORAGE_BACKENDS`. A file `development.env` in it is read, for what is "
        "not set in the environment",
    )
).absolute()

# `make run` leaves its secrets and addresses here, so that manage.py finds the stack it started.
read_file(CAS_DATA_DIR / "development.env")

DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database(
        "DATABASE_URL",
        default=f"sqlite:///{CAS_DATA_DIR / 'cas.sqlite3'}",
        shown="SQLite in `CAS_DATA_DIR`",
        help="such as `postgres://user:password@host/name`",
    )
}
CAS_PREPARED_STATEMENTS = env.bool(
    "CAS_PREPARED_STATEMENTS",
    default=True,
    help="PostgreSQL prepares what is asked again and again; `false` behind a pooler in transaction mode that does not "
    "support it (PgBouncer before 1.21)",
)
CELERY_BROKER_URL = env.url(
    "CELERY_BROKER_URL",
    default="embedded://",
    help="`redis://…`, `rediss://…`, `amqp://…` or `amqps://…` for more than one machine "
    "([operations.md](operations.md#access-to-the-broker)); embedded is files in `CAS_DATA_DIR`",
)

env.section("Keys and secrets")
SECRET_KEY = env.str("CAS_SECRET_KEY", default="", shown="required", is_secret=True, help="Django's secret key")
SECRET_KEY_FALLBACKS = env.list(
    "CAS_SECRET_KEY_FALLBACKS",
    default=[],
    is_secret=True,
    help="former secret keys, separated by commas: what they signed still counts",
)
CAS_TOKEN_KEYS = env.list(
    "CAS_TOKEN_KEYS",
    default=[],
    shown="required",
    help="files with the control plane's public keys, PEM or JWKS, or folders of them, separated by commas; they are "
    "read again when they change ([keys.md](keys.md))",
)
CAS_TOKEN_ISSUER = env.str("CAS_TOKEN_ISSUER", default="", shown="any", help="the `iss` that tokens must have")
CAS_CREDENTIAL_KEYS = env.list(
    "CAS_CREDENTIAL_KEYS",
    default=[],
    is_secret=True,
    help="Fernet keys for location credentials, separated by commas; the first encrypts, all decrypt",
)
CAS_CHECKPOINT_KEY = env.str(
    "CAS_CHECKPOINT_KEY",
    default="",
    help="file with the Ed25519 private key (PEM) that signs checkpoints of the trail; `manage.py make_checkpoint_key` "
    "makes one; none: they are not signed",
)
CAS_CHECKPOINT_PUBLIC_KEYS = env.list(
    "CAS_CHECKPOINT_PUBLIC_KEYS",
    default=[],
    help="files with the public keys (PEM) of earlier checkpoint keys, and of the next, separated by commas; retention "
    "removes only what a known key signed",
)

env.section("Web server")
CAS_HOST = env.str("CAS_HOST", default="127.0.0.1", help="address that the `Procfile`'s web server listens at")
CAS_PORT = env.int("CAS_PORT", default=8000, at_least=1, at_most=65535, help="and its port")
CAS_WEB_WORKERS = env.int("CAS_WEB_WORKERS", default=2, at_least=1, at_most=1024, help="and its processes")
CAS_WEB_THREADS = env.int(
    "CAS_WEB_THREADS",
    default=64,
    at_least=2,
    at_most=10_000,
    help="threads of a web process; those that transfers may not take answer everything else",
)
CAS_MAX_TRANSFERS = env.int(
    "CAS_MAX_TRANSFERS",
    default=48,
    at_least=1,
    at_most=10_000,
    help="uploads and downloads that a web process takes at once, fewer than its threads; more get 503. Three quarters "
    "for any one organization",
)
CAS_WITHOUT_DATABASE_SECONDS = env.float(
    "CAS_WITHOUT_DATABASE_SECONDS",
    default=3600.0,
    unit="seconds",
    at_least=0,
    at_most=7 * 24 * 3600,
    help="how long transfers go on while the database is away, over locations as they were last read; 0: not at all "
    "([operations.md](operations.md#without-the-database))",
)
CAS_DRAIN_SECONDS = env.float(
    "CAS_DRAIN_SECONDS",
    default=0.0,
    unit="seconds",
    at_least=0,
    at_most=3600,
    help="how long a web server that is told to end serves on with `/readyz` at 503, so that proxies go elsewhere "
    "([deployment.md](deployment.md#restarts))",
)
CAS_GRACE_SECONDS = env.int(
    "CAS_GRACE_SECONDS",
    default=20,
    unit="seconds",
    at_least=1,
    at_most=1800,
    help="how long transfers may take after that; then they are cut",
)
ALLOWED_HOSTS = env.list(
    "CAS_ALLOWED_HOSTS",
    default=["localhost", "127.0.0.1", "[::1]"],
    help="host names the server answers to, separated by commas",
)
CSRF_TRUSTED_ORIGINS = env.list(
    "CAS_CSRF_TRUSTED_ORIGINS",
    default=[],
    help="origins of the admin behind a proxy, such as `https://cas.example.com`",
)
CORS_ALLOWED_ORIGINS = env.list(
    "CAS_CORS_ALLOWED_ORIGINS",
    default=[],
    help="origins whose pages may fetch `/download/` and upload to `/uploads/`",
)
# Whoever can reach the server could claim HTTPS: only for a server that none but the proxy can reach.
CAS_BEHIND_PROXY = env.bool(
    "CAS_BEHIND_PROXY",
    default=False,
    help="believe `X-Forwarded-Proto`; for a server that only your reverse proxy can reach",
)
CAS_SECURE_COOKIES = env.bool(
    "CAS_SECURE_COOKIES",
    default=True,
    help="the admin's cookies over HTTPS alone; the development stack sets `false`",
)
DEBUG = env.bool("CAS_DEBUG", default=False, help="Django's debug pages; never where others can reach it")

env.section("People")

CAS_SESSION_HOURS = env.float(
    "CAS_SESSION_HOURS",
    default=12,
    unit="hours",
    at_least=MINUTE,
    at_most=CENTURY * 24,
    help="how long a sign-in to the admin holds, however busy somebody is",
)
CAS_REQUIRE_TWO_FACTOR = env.bool(
    "CAS_REQUIRE_TWO_FACTOR",
    default=False,
    help="who has not set up two-factor authentication can do nothing else in the admin "
    "([admin-people.md](admin-people.md))",
)
CAS_SSL_REDIRECT = env.bool(
    "CAS_SSL_REDIRECT",
    default=False,
    help="answer pages over HTTP with a redirect to HTTPS; where the proxy does not, and together with "
    "`CAS_BEHIND_PROXY`",
)
CAS_HSTS_SECONDS = env.int(
    "CAS_HSTS_SECONDS",
    default=0,
    unit="seconds",
    at_least=0,
    at_most=CENTURY * 86400,
    help="browsers use HTTPS alone for so long (Strict-Transport-Security); 0: not told",
)
CAS_HSTS_SUBDOMAINS = env.bool(
    "CAS_HSTS_SUBDOMAINS", default=False, help="that goes for subdomains too, and preloading"
)

env.section("Artifacts")
CAS_MAX_UPLOAD_BYTES = env.int(
    "CAS_MAX_UPLOAD_BYTES",
    default=100 * 1024**3,
    shown="100 GiB",
    unit="bytes",
    at_least=0,
    at_most=10**18,
    help="largest artifact; 0, or more than that: 5 TiB",
)
CAS_UPLOAD_EXPIRES_HOURS = env.float(
    "CAS_UPLOAD_EXPIRES_HOURS",
    default=24.0,
    unit="hours",
    at_least=MINUTE,
    at_most=CENTURY * 24,
    help="after which a resumable upload that nobody goes on with is given up, and what uploads left behind is removed",
)
CAS_STORAGE_BACKENDS = env.dict(
    "CAS_STORAGE_BACKENDS",
    default={},
    help="more backends, as `NAME=package.module.StorageClass`, separated by commas",
)
CAS_STORAGE_HOSTS = env.list(
    "CAS_STORAGE_HOSTS",
    default=[],
    shown="all but the machine itself and link-local addresses",
    help="where storages may be: names with `*`, addresses and networks, separated by commas, such as "
    "`*.amazonaws.com,10.0.0.0/8`. Loopback (but with `CAS_DEBUG`), link-local and clouds' metadata only by address",
)
CAS_SCRUB_BYTES_PER_SECOND = env.int(
    "CAS_SCRUB_BYTES_PER_SECOND",
    default=0,
    unit="bytes a second",
    at_least=0,
    at_most=10**12,
    help="how fast artifacts are read again in the background, to find damage; 0: not at all",
)
CAS_SCRUB_EVERY_DAYS = env.float(
    "CAS_SCRUB_EVERY_DAYS",
    default=30.0,
    unit="days",
    above=0,
    at_most=CENTURY,
    help="how long after one such pass the next begins",
)

env.section("Publishing to NATS")
NATS_URL = env.urls(
    "NATS_URL",
    default="",
    help="such as `nats://host:4222`, several of a cluster separated by commas; none: events are kept, not published",
)
# These go by the names that NATS' own command line reads.
NATS_USER = env.str("NATS_USER", default="", help="user; better here than in `NATS_URL`, and with `NATS_PASSWORD`")
NATS_PASSWORD = env.str("NATS_PASSWORD", default="", is_secret=True, help="its password")
NATS_TOKEN = env.str("NATS_TOKEN", default="", is_secret=True, help="a token instead")
NATS_NKEY = env.str("NATS_NKEY", default="", help="file with the seed of a user's NKEY instead")
NATS_CREDS = env.str("NATS_CREDS", default="", help="file of credentials (`.creds`: a JWT and its seed) instead")
NATS_CA = env.str(
    "NATS_CA",
    default="",
    help="file with the certificates (PEM) that the server's must be signed by. This, `NATS_CERT` and `tls://` demand "
    "TLS; with `tls://` alone those of the system count",
)
NATS_CERT = env.str("NATS_CERT", default="", help="file with a certificate (PEM) to present to the server")
NATS_KEY = env.str("NATS_KEY", default="", shown="in `NATS_CERT`", help="file with its key (PEM)")
CAS_SWEEP_SECONDS = env.float(
    "CAS_SWEEP_SECONDS",
    default=5.0,
    unit="seconds",
    at_least=0.1,
    at_most=86400,
    help="how often beat looks for events whose nudge was lost",
)
CAS_MIRROR = env.bool(
    "CAS_MIRROR",
    default=False,
    help="have the maintenance worker take what others publish to the stream into the trail",
)
CAS_MIRROR_CONSUMER = env.str(
    "CAS_MIRROR_CONSUMER",
    default="artifact-cas-mirror",
    help="the durable consumer that the mirror reads through; one for each installation",
)

env.section("The trail")
CAS_SEAL_SECONDS = env.float(
    "CAS_SEAL_SECONDS",
    default=2.0,
    unit="seconds",
    at_least=0.1,
    at_most=300,  # verify_trail names what waits for 15 minutes (audit/freshness.py), and an alert what waits for 10
    help="how often events are sealed: chained, and counted into the usage totals",
)
CAS_CHECKPOINT_SECONDS = env.float(
    "CAS_CHECKPOINT_SECONDS",
    default=60.0,
    unit="seconds",
    at_least=1,
    at_most=3600,  # as often as when nothing happens; verify_trail names one that is two hours old
    help="how often a checkpoint of the trail is signed and published, while events come",
)
AUDIT_RETENTION_DAYS = env.float(
    "AUDIT_RETENTION_DAYS",
    default=0.0,
    unit="days",
    at_least=0,
    at_most=100_000,
    help="age at which events leave the trail; usage totals stay; 0: none ever does",
)

env.section("Observing it")
LOG_LEVEL = env.choice("CAS_LOG_LEVEL", default="INFO", of=LOG_LEVELS, help="of the log on standard error")
CAS_LOG_FORMAT = env.choice(
    "CAS_LOG_FORMAT",
    default="plain",
    of=("plain", "json"),
    help="`json`: one object a line, with request id, organization and digest; never a token",
)
CAS_ACCESS_LOG = env.bool("CAS_ACCESS_LOG", default=False, help="a line for each request")
CAS_METRICS_TOKEN = env.str(
    "CAS_METRICS_TOKEN",
    default="",
    is_secret=True,
    help="`/metrics` answers whoever sends it as a bearer token; at least 16 characters",
)
CAS_METRICS_ALLOW = env.list(
    "CAS_METRICS_ALLOW",
    default=["127.0.0.0/8", "::1"],
    help="networks that `/metrics` answers without one, separated by commas, such as `10.0.0.0/8`",
)
CAS_METRICS_PORT = env.int(
    "CAS_METRICS_PORT",
    default=0,
    at_least=0,
    at_most=65535,
    help="a worker shows `/metrics` at this port of `CAS_HOST` too, for one whose `CAS_DATA_DIR` no web server shares; "
    "0: none",
)
OTEL_EXPORTER_OTLP_ENDPOINT = env.str(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    default="",
    help="an OpenTelemetry collector's address (OTLP over HTTP), such as `http://collector:4318`; none: no traces. The "
    "SDK reads other variables of OpenTelemetry itself ([observability.md](observability.md#traces))",
)
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = env.str(
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    default="",
    help="the same for traces alone, with its path, such as `http://collector:4318/v1/traces`",
)
OTEL_SERVICE_NAME = env.str("OTEL_SERVICE_NAME", default="artifact-cas", help="name of this installation in traces")
SENTRY_DSN = env.str(
    "SENTRY_DSN", default="", is_secret=True, help="where errors are reported to Sentry; none: they are not"
)

SILENCED_SYSTEM_CHECKS = env.list(
    "CAS_SILENCED_CHECKS",
    default=[],
    help="ids of system checks, such as `casproject.W002`, that are not to be told, nor to stop the start",
)

env.section("The command `cas`, on the same machine")
env.outside("CAS_SERVER", default="", help="see [clients.md](clients.md)")
env.outside("CAS_TOKEN", default="", is_secret=True, help="likewise")
env.outside("CAS_TOKEN_FILE", default="", help="likewise")
env.outside("CAS_CA_FILE", default="", help="likewise")

env.section("The development stack")
env.outside("CAS_NATS_PORT", default="4222", help="where `make run` has its NATS server listen")
env.outside("CAS_ADMIN_USER", default="admin", help="the admin user that `make run` made")
env.outside("CAS_ADMIN_PASSWORD", default="", is_secret=True, help="and the password it has")
