"""The bodies that the token endpoints take. Whether a token is good is not their business."""

from typing import Any

from rest_framework import serializers


class SignInSerializer(serializers.Serializer[Any]):
    """A username and a password, taken as they are: spaces can be part of a password."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class RefreshSerializer(serializers.Serializer[Any]):
    """A refresh token."""

    refresh = serializers.CharField()


class VerifySerializer(serializers.Serializer[Any]):
    """An access token."""

    token = serializers.CharField()
