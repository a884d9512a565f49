"""What Django, Celery and the apps make of the environment; casproject/variables.py reads it."""

import ssl
import sys
from typing import Any
from urllib.parse import urlsplit

from celery.schedules import schedule

from casproject.variables import *

env.refuse_unreadable()

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
    "drf_spectacular_sidecar",
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
    "casproject.apps.CasProjectConfig",
    "artifacts",
    "audit",
    "people",
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
    "django_otp.middleware.OTPMiddleware",
    "people.middleware.require_two_factor",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "casproject.visible_pages.show_unseen",
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
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        # Take the write lock at BEGIN, so that a transaction waits for it rather than fails half-way.
        "transaction_mode": "IMMEDIATE",
        # FULL: a commit that was acknowledged survives a power cut, as the artifact itself does.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
    # REST framework imports these fields if it can, and with them psycopg: 11 MB, and a seventh of a process's start.
    sys.modules.setdefault("django.contrib.postgres.fields", None)  # type: ignore[arg-type]
else:
    # A database that does not answer, or whose machine is gone, must not hold a request for as long as TCP would.
    _options = DATABASES["default"].setdefault("OPTIONS", {})
    for _name, _value in {
        "connect_timeout": 5,  # seconds
        "tcp_user_timeout": 10_000,  # ms
        "keepalives_idle": 10,  # seconds
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }.items():
        _options.setdefault(_name, _value)
    if CAS_PREPARED_STATEMENTS:
        _options["prepare_threshold"] = 5  # of common/prepared.py's cursors; Django's never prepare
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

AUTHENTICATION_BACKENDS = ["people.backends.Backend"]
OTP_TOTP_ISSUER = "Artifact CAS"
OTP_TOTP_THROTTLE_FACTOR = OTP_STATIC_THROTTLE_FACTOR = 0  # people/throttle.py counts failures of both factors
SESSION_COOKIE_AGE = int(CAS_SESSION_HOURS * 3600)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = CAS_SECURE_COOKIES
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CAS_BEHIND_PROXY else None
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = CAS_SSL_REDIRECT
SECURE_HSTS_SECONDS = CAS_HSTS_SECONDS
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = CAS_HSTS_SUBDOMAINS
X_FRAME_OPTIONS = "DENY"

# Of pages; artifacts have one of their own, which lets them do nothing at all.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

CORS_URLS_REGEX = r"^/(download/|uploads(/|$))"
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
    "Upload-Skipped",
]

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    # The first one's challenge is sent with 401.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "people.authentication.PasswordAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "UNAUTHENTICATED_USER": None,
    "EXCEPTION_HANDLER": "artifacts.api_errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Artifact CAS",
    "DESCRIPTION": "A self-hosted, content-addressed artifact store with an audit trail.\n\n"
    "Errors are `application/problem+json` (RFC 9457) with a stable `code`. Beside those of each call: "
    "404 `not_found` where there is no such address, 405 `method_not_allowed`.",
    "VERSION": "1",
    "TAGS": [
        {"name": "artifacts", "description": "Whole artifacts, by digest."},
        {"name": "uploads", "description": "Resumable uploads: tus 1.0.0 (https://tus.io/protocols/resumable-upload)."},
        {"name": "trail", "description": "The audit trail and the usage, for staff."},
        {"name": "service", "description": "Health, metrics, this document."},
    ],
    "PREPROCESSING_HOOKS": ["casproject.schema.with_descriptions"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "casproject.schema.service.add_service",
        "artifacts.schema.bodiless.add_bodiless",
        "casproject.schema.finishing.add_headers",
        "casproject.schema.finishing.share",
    ],
}

# Celery carries wake-ups; the outbox is the truth, so a message is never worth waiting for.
if CELERY_BROKER_URL == "embedded://":
    _broker_dir = str(CAS_DATA_DIR / "broker")
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "data_folder_in": _broker_dir,
        "data_folder_out": _broker_dir,
        "control_folder": str(CAS_DATA_DIR / "broker-control"),
        "polling_interval": 0.05,
    }
elif CELERY_BROKER_URL.startswith(("redis:", "rediss:")):
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 1, "max_retries": 0}
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"connect_timeout": 2, "write_timeout": 5}
# Else Kombu takes any certificate of Redis, and one of any host from RabbitMQ. What the URL says of TLS counts instead.
CELERY_BROKER_USE_SSL = {
    "rediss": {"ssl_cert_reqs": ssl.CERT_REQUIRED},
    "amqps": {"server_hostname": urlsplit(CELERY_BROKER_URL).hostname},
}.get(CELERY_BROKER_URL.partition(":")[0], False)
# A connection of RabbitMQ's that broke is made anew by nothing but a second attempt.
CELERY_TASK_PUBLISH_RETRY = CELERY_BROKER_URL.startswith(("amqp:", "amqps:", "pyamqp:"))
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker outlasts its broker's outage
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_TIMEZONE = "UTC"
CELERY_TASK_ROUTES = {
    "artifacts.tasks.*": {"queue": "maintenance"},
    "audit.upkeep_tasks.rank_organizations": {"queue": "maintenance"},
    "audit.upkeep_tasks.watch": {"queue": "maintenance"},
    "audit.upkeep_tasks.remove_expired": {"queue": "maintenance"},
    "audit.tasks.mirror_stream": {"queue": "maintenance"},
    "people.tasks.*": {"queue": "maintenance"},
}
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "sweep-incoming": {
        "task": "artifacts.tasks.sweep_incoming",
        "schedule": schedule(3600),
        "options": {"expires": 3600},
    },
    "sweep-people": {
        "task": "people.tasks.sweep",
        "schedule": schedule(3600),
        "options": {"expires": 3600},
    },
    "watch": {
        "task": "audit.upkeep_tasks.watch",
        "schedule": schedule(15),
        "options": {"expires": 15},
    },
    "seal": {
        "task": "audit.upkeep_tasks.seal",
        "schedule": schedule(CAS_SEAL_SECONDS),
        "options": {"expires": CAS_SEAL_SECONDS},
    },
    "rank-organizations": {
        "task": "audit.upkeep_tasks.rank_organizations",
        "schedule": schedule(300),
        "options": {"expires": 300},
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
    "filters": {"refused_hosts": {"()": "casproject.observability.logs.RefusedHosts"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": CAS_LOG_FORMAT},
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"level": LOG_LEVEL},
        # A line for every 4xx would drown the log; answers carry their own code.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"filters": ["refused_hosts"]},
        # A sweep every few seconds is no news.
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.worker.request": {"level": "WARNING"},  # a wake-up that expired reads there like work that is lost
        "azure.core.pipeline.policies.http_logging_policy": {"level": "WARNING"},  # 30 lines a request
    },
}
