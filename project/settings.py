"""Django's settings, and the only place that reads the environment: see `.env.example`."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.origins import build_pattern
from project.development import load_secret
from project.logs import HIDDEN
from realtime.conf import derive_prefix, read_environment
from realtime.redis_address import build_base, build_layer_host

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(BASE_DIR / ".env")

# Development is the default of a checkout; it answers to local names only.
DEBUG = env.bool("DJANGO_DEBUG", True)
DATA_DIR = Path(env.str("DATA_DIR", str(BASE_DIR / "var")))


def read_text(name: str) -> str:
    """A variable, or else the content of the file that `<name>_FILE` names; may be empty."""
    text: str = env.str(name, "")
    path: str = env.str(f"{name}_FILE", "")
    if not path:
        # A line of .env holds no line break, of which PEM has many.
        return text.replace("\\n", "\n") if text.startswith("-----BEGIN") else text
    if text:
        raise ImproperlyConfigured(f"Of {name} and {name}_FILE set one")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}") from error


def read_secret(name: str, *, least: int) -> str:
    """A secret from the environment; in development only, one that is made when missing."""
    secret = read_text(name)
    if not secret and DEBUG:
        return load_secret(name, DATA_DIR / "secrets")
    if (
        len(secret.encode()) < least
        or len(set(secret)) < 10
        or secret.startswith("django-insecure")
    ):
        raise ImproperlyConfigured(
            f"{name} is {'weak' if secret else 'not set'}: set it to at least {least} random "
            "characters, for example from "
            "`python -c 'import secrets; print(secrets.token_urlsafe(64))'`"
            + ("" if DEBUG else " (with DJANGO_DEBUG=false nothing is generated)")
        )
    return secret


SECRET_KEY = read_secret("DJANGO_SECRET_KEY", least=50)
# docs/tokens.md; accounts/checks.py sees that they fit.
JWT_ALGORITHM = env.str("JWT_ALGORITHM", "HS256")
JWT_SIGNING_KEY = (
    read_secret("JWT_SIGNING_KEY", least=32)
    if JWT_ALGORITHM.startswith("HS")
    else read_text("JWT_SIGNING_KEY")
)
JWT_PREVIOUS_KEY = read_text("JWT_PREVIOUS_KEY")
JWT_PREVIOUS_ALGORITHM = env.str("JWT_PREVIOUS_ALGORITHM", "") or JWT_ALGORITHM
JWT_PREVIOUS_KEY_UNTIL = env.str("JWT_PREVIOUS_KEY_UNTIL", "")
if SECRET_KEY == JWT_SIGNING_KEY:
    raise ImproperlyConfigured("JWT_SIGNING_KEY has to differ from DJANGO_SECRET_KEY")

ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=[])
# Origins whose pages may connect and call the API by token, besides the server's own host, as
# https://app.example.org or https://*.example.org.
ALLOWED_ORIGINS = env.list("DJANGO_ALLOWED_ORIGINS", default=[])
# Origins whose pages may send the admin's forms, with the administrator's cookies.
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])
# Behind this many proxies a client's address is that far from the right in X-Forwarded-For.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
if TRUSTED_PROXIES < 0:
    raise ImproperlyConfigured("TRUSTED_PROXIES is a number of proxies: 0 or more")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servestatic",
    "corsheaders",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "channels",
    "accounts",
    "realtime",
    "demo",
]
MIDDLEWARE = [
    "realtime.api.probes.answer_probes",
    "realtime.api.screening.screen_requests",
    "django.middleware.security.SecurityMiddleware",
    "project.static_files.StaticFilesMiddleware",
    "csp.middleware.CSPMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "realtime.admin.lookups.WrongLookups",
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

# Storage

DATABASE_URL = env.str("DATABASE_URL", "") or f"sqlite:///{DATA_DIR / 'db.sqlite3'}"
DATABASES = {"default": env.db_url_config(DATABASE_URL)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # Opening the file and its pragmas takes a millisecond, for each sign-in again. Few threads
    # use the database, so what stays open is bounded.
    DATABASES["default"]["CONN_MAX_AGE"] = 60
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # Persistent connections (CONN_MAX_AGE) do not fit ASGI's threads; a pool does.
    # Bounded, and a request that finds it empty is told soon (503) instead of waiting for long.
    pool = {"min_size": 2, "max_size": env.int("DATABASE_POOL_SIZE", 16), "timeout": 5}
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = pool
    # Else each connection in the pool fails once more after PostgreSQL was restarted.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True

REDIS_URL = env.str("REDIS_URL", "")
_options = read_environment(os.environ)
# All keys and channels in Redis begin with it: see `prefix` in realtime/conf.py.
_prefix = _options.get("PREFIX") or derive_prefix(SECRET_KEY)
_redis_base = build_base(_prefix, REDIS_URL) if REDIS_URL else ""
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [build_layer_host(REDIS_URL)], "prefix": _redis_base},
    }
    if REDIS_URL
    else {
        # The default capacity of 100 would drop messages of a busy moment.
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": 1_000_000},
    }
}
REALTIME: dict[str, Any] = {
    "REDIS_URL": REDIS_URL,
    "REST_AUTHENTICATION": "accounts.authentication.AccessTokenAuthentication",
    "IDENTITY_LOADER": "accounts.validation.reload_identities",
    # The conversation on the dashboard, where everybody sees who else is there.
    "NAMESPACES": {"lobby": {"kind": "broadcast", "presence": True}},
    **_options,
    "PREFIX": _prefix,
}

# Accounts

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
SIMPLE_JWT = {
    "ALGORITHM": JWT_ALGORITHM,
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "ISSUER": env.str("JWT_ISSUER", "realtime-server"),
    "AUDIENCE": env.str("JWT_AUDIENCE", "realtime"),
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=env.int("JWT_ACCESS_SECONDS", 600)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=env.int("JWT_REFRESH_DAYS", 14)),
}
# A refresh token that is used again within this time is refused; later it ends the sign-in.
JWT_REUSE_GRACE_SECONDS = env.float("JWT_REUSE_GRACE_SECONDS", 10.0)

# Guessing at the admin's sign-in page (django-axes), see accounts/lockouts.py.
AUTHENTICATION_BACKENDS = [
    "accounts.lockouts.LockoutBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT = env.int("ADMIN_SIGN_IN_FAILURES", 10)
AXES_COOLOFF_TIME = timedelta(seconds=env.int("ADMIN_LOCKOUT_SECONDS", 900))
AXES_HANDLER = "accounts.lockouts.AdminHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "accounts.addresses.find_address"
AXES_LOCKOUT_CALLABLE = "accounts.lockouts.answer_locked_out"
# Who is locked out already makes no more rows, and is let in again in time.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_SENSITIVE_PARAMETERS = ["username", "csrfmiddlewaretoken", "token", "access_token", "jwt"]
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

# Counts of sign-ins: shared by all instances in Redis, `process` while Redis is away. Django's
# cache knows no Sentinel, and there each instance counts for itself.
_process_cache = {
    "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
    "OPTIONS": {"MAX_ENTRIES": 100_000},
}
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": _redis_base,
        "OPTIONS": {
            "socket_timeout": 0.5,
            "socket_connect_timeout": 0.5,
            "retry": Retry(NoBackoff(), 0),
        },
    }
    if REDIS_URL and "+sentinel:" not in REDIS_URL
    else _process_cache,
    "process": {**_process_cache, "LOCATION": "process"},
}

# REST

# Views of ours bring along all that they need: nothing of theirs is set here. This is for the
# project's own, and what /api/schema/ is made with.
REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
TOKEN_RATES = {
    "sign_in": env.str("SIGN_IN_RATE", "60/min"),
    "sign_in_failure": env.str("SIGN_IN_FAILURE_RATE", "10/min"),
    "token": env.str("TOKEN_RATE", "60/min"),
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Real-time server",
    "DESCRIPTION": "Publish, read the past and the figures of topics, see and end live sessions. "
    "What goes over WebSocket has a document of its own.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.1",
    "TAGS": [
        {"name": "Tokens", "description": "Sign in, stay signed in, sign out."},
        {
            "name": "Topics",
            "description": "Publish, and read. Policies of namespaces decide who may.",
        },
        {"name": "Sessions", "description": "Who is connected, and an end to it, by permission."},
        {"name": "Documents", "description": "What this API is."},
    ],
    "POSTPROCESSING_HOOKS": ["realtime.openapi.complete_document"],
    # All of the page comes from this server; its validator would send the document elsewhere.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "tryItOutEnabled": True, "validatorUrl": None},
}

# Bodies up to the longest publication go through memory: while a file is written, nobody else has
# a turn of the loop.
FILE_UPLOAD_MAX_MEMORY_SIZE = REALTIME.get("MAX_BINARY_BYTES", 16 * 1024 * 1024) + 1024 * 1024

# Web security

# Scripts of allowed origins read the API, by token; never the admin, nor what is for this
# server's own pages, and no cookie is sent along.
CORS_URLS_REGEX = r"^/api/(?!browser/)"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOWED_ORIGIN_REGEXES = [build_pattern(origin) for origin in ALLOWED_ORIGINS]
CORS_EXPOSE_HEADERS = ["Retry-After"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = env.bool("DJANGO_SSL_REDIRECT", False)
SECURE_HSTS_SECONDS = env.int("DJANGO_HSTS_SECONDS", 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
if env.bool("DJANGO_BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Static files

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
# The JavaScript client, which pages import as /static/realtime/realtime.js.
STATICFILES_DIRS = [("realtime", BASE_DIR / "clients" / "js" / "src")]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "servestatic.storage.CompressedManifestStaticFilesStorage"
    },
}
SERVESTATIC_USE_FINDERS = DEBUG
SERVESTATIC_AUTOREFRESH = DEBUG
SERVESTATIC_ALLOW_ALL_ORIGINS = False

# Logs: one JSON object a line, or plain text.

LOG_FORMAT = env.str("LOG_FORMAT", "text" if DEBUG else "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
            "reserved_attrs": sorted(HIDDEN),
        },
        "text": {"()": "project.logs.TextFormatter"},
    },
    "filters": {
        "limits": {
            "()": "realtime.log_limits.LogLimits",
            "each": env.int("LOG_LINES_PER_ADDRESS", 600),
            "in_all": env.int("LOG_LINES_PER_HOUR", 180_000),
        }
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["limits"],
        }
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", "INFO")},
    # Django's runserver access log and daphne's own start-up lines say what ours already say.
    "loggers": {
        "django": {"handlers": []},  # in development its own handler would write each line again
        "daphne": {"level": "WARNING"},
        "django.server": {"level": "WARNING"},
    },
}
