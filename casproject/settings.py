"""Settings: the environment, read once, typed. README.md has the table."""

from pathlib import Path
from typing import Any

from celery.schedules import schedule

from casproject.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
CAS_DATA_DIR = Path(env.str("CAS_DATA_DIR", default=str(BASE_DIR / "var"))).absolute()

# `make run` leaves its secrets and addresses here, so that manage.py finds the stack it started.
# Variables that are set in the environment win.
Environment.read_env(str(CAS_DATA_DIR / "development.env"))

DEBUG = env.bool("CAS_DEBUG", default=False)
SECRET_KEY = env.str("CAS_SECRET_KEY", default="")
ALLOWED_HOSTS = env.list("CAS_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CAS_CSRF_TRUSTED_ORIGINS", default=[])
# Whoever can reach the server could claim HTTPS: only for a server that none but the proxy can reach.
CAS_BEHIND_PROXY = env.bool("CAS_BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CAS_BEHIND_PROXY else None
LOG_LEVEL = env.log_level("CAS_LOG_LEVEL")
CAS_LOG_FORMAT = env.str("CAS_LOG_FORMAT", default="plain")
CAS_ACCESS_LOG = env.bool("CAS_ACCESS_LOG", default=False)

# Tokens and locations
CAS_TOKEN_KEYS = env.list("CAS_TOKEN_KEYS", default=[])
CAS_TOKEN_ISSUER = env.str("CAS_TOKEN_ISSUER", default="")
CAS_CREDENTIAL_KEYS = env.list("CAS_CREDENTIAL_KEYS", default=[])
CAS_MAX_UPLOAD_BYTES = env.int("CAS_MAX_UPLOAD_BYTES", default=100 * 1024**3)
CAS_UPLOAD_EXPIRES_HOURS = env.float("CAS_UPLOAD_EXPIRES_HOURS", default=24.0)
CAS_STORAGE_BACKENDS = env.dict("CAS_STORAGE_BACKENDS", default={})

# Threads of a web process (the Procfile gives the web server as many), and how many of them may wait for clients.
CAS_WEB_THREADS = env.int("CAS_WEB_THREADS", default=64)
CAS_MAX_TRANSFERS = env.int("CAS_MAX_TRANSFERS", default=48)
CAS_DRAIN_SECONDS = env.float("CAS_DRAIN_SECONDS", default=0.0)

# Upkeep
CAS_SCRUB_BYTES_PER_SECOND = env.int("CAS_SCRUB_BYTES_PER_SECOND", default=0)
CAS_SCRUB_EVERY_DAYS = env.float("CAS_SCRUB_EVERY_DAYS", default=30.0)

# Observing
CAS_METRICS_TOKEN = env.str("CAS_METRICS_TOKEN", default="")
CAS_METRICS_ALLOW = env.list("CAS_METRICS_ALLOW", default=["127.0.0.0/8", "::1"])

# Publishing
NATS_URL = env.str("NATS_URL", default="")
CAS_SWEEP_SECONDS = env.float("CAS_SWEEP_SECONDS", default=5.0)

# The trail
CAS_SEAL_SECONDS = env.float("CAS_SEAL_SECONDS", default=2.0)
CAS_CHECKPOINT_SECONDS = env.float("CAS_CHECKPOINT_SECONDS", default=60.0)
CAS_CHECKPOINT_KEY = env.str("CAS_CHECKPOINT_KEY", default="")
AUDIT_RETENTION_DAYS = env.float("AUDIT_RETENTION_DAYS", default=0.0)

# Taking in what others publish
CAS_MIRROR = env.bool("CAS_MIRROR", default=False)
CAS_MIRROR_CONSUMER = env.str("CAS_MIRROR_CONSUMER", default="artifact-cas-mirror")

INSTALLED_APPS = [
    "casproject.apps.CasAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "casproject.apps.CasProjectConfig",
    "artifacts",
    "audit",
]

MIDDLEWARE = [
    "casproject.health.answer_probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "casproject.forms.LimitForms",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# Of these, what transfers need (casproject/handlers.py); the latter only where CORS_URLS_REGEX matches.
TRANSFER_MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]
CORS_MIDDLEWARE = "corsheaders.middleware.CorsMiddleware"

ROOT_URLCONF = "casproject.urls"
WSGI_APPLICATION = "casproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Database
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database("DATABASE_URL", default=f"sqlite:///{CAS_DATA_DIR / 'cas.sqlite3'}"),
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        # Take the write lock at BEGIN, so that a transaction waits for it rather than fails half-way.
        "transaction_mode": "IMMEDIATE",
        # FULL: a commit that was acknowledged survives a power cut, as the artifact itself does.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    # A database that does not answer must not hold a request for as long as TCP would.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
    if env.bool("CAS_PREPARED_STATEMENTS", default=True):
        DATABASES["default"]["OPTIONS"]["prepare_threshold"] = (
            5  # of common/prepared.py's cursors; Django's never prepare
        )
DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # a few admin files, straight from the packages: no collectstatic step

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("CAS_SECURE_COOKIES", default=True)
SECURE_REFERRER_POLICY = "same-origin"

CORS_URLS_REGEX = r"^/(download/|uploads(/|$))"
CORS_ALLOWED_ORIGINS = env.list("CAS_CORS_ALLOWED_ORIGINS", default=[])
CORS_ALLOW_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST"]
CORS_ALLOW_HEADERS = [
    "authorization",
    "content-type",
    "tus-resumable",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-http-method-override",
    "x-request-id",  # tus-js-client sends it when told to
    "x-requested-with",
]
CORS_EXPOSE_HEADERS = [
    "Content-Disposition",
    "Content-Length",
    "Content-Location",
    "Content-Range",
    "ETag",
    "Location",
    "Repr-Digest",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
]

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
    "EXCEPTION_HANDLER": "artifacts.api_errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Artifact CAS",
    "DESCRIPTION": "A self-hosted, content-addressed artifact store.",
    "VERSION": "1",
    "PREPROCESSING_HOOKS": ["artifacts.schema.only_transfers"],
    "POSTPROCESSING_HOOKS": ["artifacts.schema.bodiless.add_bodiless"],
}

# Celery carries wake-ups; the outbox is the truth, so a message is never worth waiting for.
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="embedded://")
if CELERY_BROKER_URL == "embedded://":
    _broker_dir = str(CAS_DATA_DIR / "broker")
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "data_folder_in": _broker_dir,
        "data_folder_out": _broker_dir,
        "control_folder": str(CAS_DATA_DIR / "broker-control"),
        "polling_interval": 0.05,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 1, "max_retries": 0}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_TIMEZONE = "UTC"
CELERY_TASK_ROUTES = {
    "artifacts.tasks.*": {"queue": "maintenance"},
    "audit.upkeep_tasks.remove_expired": {"queue": "maintenance"},
    "audit.tasks.mirror_stream": {"queue": "maintenance"},
}
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "sweep-incoming": {
        "task": "artifacts.tasks.sweep_incoming",
        "schedule": schedule(3600),
        "options": {"expires": 3600},
    },
    "seal": {
        "task": "audit.upkeep_tasks.seal",
        "schedule": schedule(CAS_SEAL_SECONDS),
        "options": {"expires": CAS_SEAL_SECONDS},
    },
}
if NATS_URL:
    CELERY_BEAT_SCHEDULE["sweep-outbox"] = {
        "task": "audit.tasks.publish_pending",
        "schedule": schedule(CAS_SWEEP_SECONDS),
        "options": {"expires": CAS_SWEEP_SECONDS},
    }
if AUDIT_RETENTION_DAYS:
    CELERY_BEAT_SCHEDULE["remove-expired"] = {
        "task": "audit.upkeep_tasks.remove_expired",
        "schedule": schedule(600),
        "options": {"expires": 600},
    }
if CAS_MIRROR:
    CELERY_BEAT_SCHEDULE["mirror"] = {
        "task": "audit.tasks.mirror_stream",
        "schedule": schedule(10),
        "options": {"expires": 10},
    }
if CAS_SCRUB_BYTES_PER_SECOND:
    CELERY_BEAT_SCHEDULE["scrub"] = {
        "task": "artifacts.tasks.scrub_slice",
        "schedule": schedule(60),
        "options": {"expires": 60},
    }
CELERY_BEAT_SCHEDULE_FILENAME = str(CAS_DATA_DIR / "celerybeat-schedule")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": "casproject.observability.logs.Plain"},
        "json": {"()": "casproject.observability.logs.JSON"},
    },
    "handlers": {
        # A wrong format is told by a system check, which needs a log that can be set up.
        "console": {"class": "logging.StreamHandler", "formatter": "json" if CAS_LOG_FORMAT == "json" else "plain"},
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"level": LOG_LEVEL},
        # A line for every 4xx would drown the log; answers carry their own code.
        "django.request": {"level": "ERROR"},
        "kombu.connection": {"level": "ERROR"},  # warns that the embedded broker has no host name
        # A sweep every few seconds is no news.
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "azure.core.pipeline.policies.http_logging_policy": {"level": "WARNING"},  # 30 lines a request
    },
}
