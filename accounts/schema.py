"""What the OpenAPI document says of tokens."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from realtime.errors import ErrorCode

TOKEN_REFUSALS = [
    ErrorCode.INVALID_JSON,
    ErrorCode.INVALID_MESSAGE,
    ErrorCode.MESSAGE_TOO_BIG,
    ErrorCode.PERMISSION_DENIED,
    ErrorCode.RATE_LIMITED,
]
TOO_OTHER = {415: {ErrorCode.NOT_SUPPORTED}}  # they take nothing but JSON
GOOD_TOKEN = OpenApiResponse(
    {"type": "object", "maxProperties": 0},
    description="The token is good; there is no more to say.",
)


class TokenPairSerializer(serializers.Serializer[Any]):
    """A fresh access token, and the refresh token that gets the next one, once."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class BearerExtension(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The one way to say who asks."""

    target_class = "accounts.authentication.AccessTokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """The security scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token, as `POST /api/token/` answers it.",
        }
