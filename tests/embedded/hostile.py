"""What a project may have for its own REST API, and ours must not meet."""

from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.versioning import BaseVersioning


class CamelCaseParser(BaseParser):
    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None):
        raise AssertionError("the parser of the project")


class Nobody(BasePermission):
    def has_permission(self, request, view):
        return False


class Never(BaseThrottle):
    def allow_request(self, request, view):
        return False


class Strange(BaseVersioning):
    def determine_version(self, request, *args, **kwargs):
        raise AssertionError("the versions of the project")


class Strict:
    def __init__(self, *_, **__):
        raise AssertionError("the negotiation, or the metadata, of the project")


def handle_exception(error, context):
    return Response({"project": type(error).__name__}, status=418)
