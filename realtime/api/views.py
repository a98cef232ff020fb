"""What all REST views of this package are made of, whatever a project's own API is made of.

Nothing is left to the `REST_FRAMEWORK` of the project: errors, JSON, negotiation and versions are
those of our own protocol, and who asks is found by `REALTIME["REST_AUTHENTICATION"]`.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from django.utils.module_loading import import_string
from drf_spectacular.openapi import AutoSchema
from rest_framework.authentication import BaseAuthentication
from rest_framework.metadata import SimpleMetadata
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from realtime.api.errors import handle_exception
from realtime.api.parsers import StrictJSONParser
from realtime.api.throttles import UserThrottle
from realtime.conf import get_settings

# The WWW-Authenticate of a 401, where the authentication has none: it is what a 401 is for.
CHALLENGE = 'Bearer realm="realtime"'


class PlainJSONRenderer(JSONRenderer):
    """JSON as ever, whatever `UNICODE_JSON`, `COMPACT_JSON` and `STRICT_JSON` are."""

    ensure_ascii = False
    compact = True
    strict = True


class Negotiation(DefaultContentNegotiation):
    """By the Accept header alone: a query has no say in it."""

    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE=None)


class FormatNegotiation(DefaultContentNegotiation):
    """By the Accept header, or `?format=`."""

    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE="format")


class SelfContained(APIView):
    """A view that answers as ours do. Rights and allowances are asked for in our own words."""

    renderer_classes = [PlainJSONRenderer]  # noqa: RUF012 (so it is typed)
    parser_classes: Sequence[type[BaseParser]] = (StrictJSONParser,)
    permission_classes = (AllowAny,)
    throttle_classes: Sequence[type[BaseThrottle]] = ()
    content_negotiation_class: type[DefaultContentNegotiation] = Negotiation
    metadata_class: Any = SimpleMetadata
    versioning_class = None
    schema: Any = AutoSchema()

    def get_exception_handler(self) -> Any:
        """Errors are `{"code", "detail"}`."""
        return handle_exception

    def get_format_suffix(self, **_: Any) -> None:
        """No path of ours has one."""


class RestView(SelfContained):
    """A view for whom `REALTIME["REST_AUTHENTICATION"]` finds, or its `authentication_classes`."""

    authentication_classes: Any = None
    throttle_classes: Sequence[type[BaseThrottle]] = (UserThrottle,)

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Of each class one."""
        classes = self.authentication_classes
        return [each() for each in (find_authentication() if classes is None else classes)]

    def get_authenticate_header(self, request: Request) -> str:
        """Without one, REST framework would make each 401 a 403."""
        return super().get_authenticate_header(request) or CHALLENGE


def find_authentication() -> list[type[BaseAuthentication]]:
    """The classes that say who makes a REST request: ours to name, or else the project's own."""
    names = get_settings().rest_authentication
    if names:
        return [import_string(name.strip()) for name in names.split(",")]
    classes: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    return list(classes)
