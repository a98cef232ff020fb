"""The same project with accounts, and with a REST API of its own that is set up otherwise."""

from tests.embedded.project_settings import *  # noqa: F403
from tests.embedded.project_settings import INSTALLED_APPS, MIDDLEWARE, REALTIME

INSTALLED_APPS = [*INSTALLED_APPS, "axes", "accounts"]
AUTH_USER_MODEL = "accounts.User"
MIDDLEWARE = [*MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
ROOT_URLCONF = "tests.embedded.hostile_urls"
JWT_ALGORITHM = "HS256"
JWT_SIGNING_KEY = "a key of tests: " + "fedcba9876543210" * 3
JWT_PREVIOUS_KEY = JWT_PREVIOUS_KEY_UNTIL = JWT_PREVIOUS_ALGORITHM = ""
JWT_REUSE_GRACE_SECONDS = 10.0
SIMPLE_JWT = {
    "ALGORITHM": JWT_ALGORITHM,
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "ISSUER": "tests",
    "AUDIENCE": "tests",
}
CACHES = {
    name: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": name}
    for name in ("default", "process")
}
REALTIME = {
    **REALTIME,
    "REST_AUTHENTICATION": "accounts.authentication.AccessTokenAuthentication",
    "IDENTITY_LOADER": "accounts.validation.reload_identities",
}


HOSTILE = "tests.embedded.hostile"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [f"{HOSTILE}.Nobody"],
    "DEFAULT_THROTTLE_CLASSES": [f"{HOSTILE}.Never"],
    "DEFAULT_THROTTLE_RATES": {"token": "0/day"},
    "DEFAULT_PARSER_CLASSES": [f"{HOSTILE}.CamelCaseParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.BrowsableAPIRenderer",
        "rest_framework.renderers.AdminRenderer",
    ],
    "DEFAULT_VERSIONING_CLASS": f"{HOSTILE}.Strange",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": f"{HOSTILE}.Strict",
    "DEFAULT_METADATA_CLASS": f"{HOSTILE}.Strict",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 1,
    "EXCEPTION_HANDLER": f"{HOSTILE}.handle_exception",
    "UNAUTHENTICATED_USER": None,
    "UNICODE_JSON": False,
    "COMPACT_JSON": False,
    "URL_FORMAT_OVERRIDE": "limit",
    "NON_FIELD_ERRORS_KEY": "everything",
}
