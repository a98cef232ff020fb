"""Errors of the REST API: always `{"code", "detail"}`, with the codes of the wire protocol."""

import logging
from http import HTTPStatus
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, reverse
from django.views.defaults import bad_request, page_not_found, server_error
from rest_framework.exceptions import APIException, Throttled
from rest_framework.response import Response
from rest_framework.views import exception_handler

from realtime.core.errors import CodedError, ErrorCode, NotRunning, Unavailable

logger = logging.getLogger("realtime.api")

STATUS = {
    ErrorCode.INVALID_JSON: HTTPStatus.BAD_REQUEST,
    ErrorCode.INVALID_MESSAGE: HTTPStatus.BAD_REQUEST,
    ErrorCode.INVALID_ARRAY: HTTPStatus.BAD_REQUEST,
    ErrorCode.INVALID_PARAMETER: HTTPStatus.BAD_REQUEST,
    ErrorCode.MESSAGE_TOO_BIG: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_SUPPORTED: HTTPStatus.BAD_REQUEST,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.UNKNOWN_TOPIC: HTTPStatus.NOT_FOUND,
    ErrorCode.AUTHENTICATION_REQUIRED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.INVALID_TOKEN: HTTPStatus.UNAUTHORIZED,
    ErrorCode.TOKEN_IN_QUERY: HTTPStatus.BAD_REQUEST,
    ErrorCode.REJECTED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# What passes by itself, and after how many seconds it is worth another try.
_PASSING = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED})
RETRY_AFTER = "1"

# Codes of Django REST framework's own exceptions, in our words.
_CODES = {
    "parse_error": ErrorCode.INVALID_JSON,
    "invalid": ErrorCode.INVALID_MESSAGE,
    "required": ErrorCode.INVALID_MESSAGE,
    "not_authenticated": ErrorCode.AUTHENTICATION_REQUIRED,
    "authentication_failed": ErrorCode.INVALID_TOKEN,
    "permission_denied": ErrorCode.PERMISSION_DENIED,
    "not_found": ErrorCode.NOT_FOUND,
    "method_not_allowed": ErrorCode.NOT_SUPPORTED,
    "not_acceptable": ErrorCode.NOT_SUPPORTED,
    "unsupported_media_type": ErrorCode.NOT_SUPPORTED,
    "throttled": ErrorCode.RATE_LIMITED,
}


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an exception in a view; None lets Django report a bug."""
    if isinstance(error, NotRunning):
        error = Unavailable(str(error))
    if isinstance(error, (OperationalError, InterfaceError)):
        logger.error("the database did not answer a request: %s", error)
        error = Unavailable("the database does not answer now; try again in a moment")
    if isinstance(error, CodedError):
        return Response(
            {"code": error.code, "detail": error.detail},
            status=STATUS[error.code],
            headers={"Retry-After": RETRY_AFTER} if error.code in _PASSING else None,
        )
    response = exception_handler(error, context)
    if response is not None:
        response.data = _describe(error)
    return response


def answer_bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Django's handler400: JSON under `/api/`. The log has, shortly, what was wrong."""
    if not is_api(request):
        return bad_request(request, exception)
    return _answer(ErrorCode.INVALID_MESSAGE, "the request is malformed, or not for this host")


def answer_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Django's handler404: JSON beside our paths."""
    if not is_api(request):
        return page_not_found(request, exception)
    return _answer(ErrorCode.NOT_FOUND, "there is no such path; they end with a slash")


def answer_server_error(request: HttpRequest) -> HttpResponseBase:
    """Django's handler500: JSON beside our paths. The log has what went wrong."""
    if not is_api(request):
        return server_error(request)
    return _answer(ErrorCode.INTERNAL, "the server failed to answer this request")


def is_api(request: HttpRequest) -> bool:
    """Whether a path is under the one where the project has mounted `realtime.api.urls`."""
    try:
        mount = reverse("realtime:sessions").removesuffix("sessions/")
    except NoReverseMatch:
        return False
    return request.path.startswith(mount)


def _answer(code: ErrorCode, detail: str) -> JsonResponse:
    return JsonResponse({"code": code, "detail": detail}, status=STATUS[code])


def _describe(error: Exception) -> dict[str, str]:
    if not isinstance(error, APIException):  # Django's Http404 and PermissionDenied
        code = "not_found" if "404" in type(error).__name__ else "permission_denied"
        return {"code": _CODES[code], "detail": str(error) or code.replace("_", " ")}
    if isinstance(error.detail, dict):  # a serializer's: say which field
        field, messages = next(iter(error.detail.items()))
        text = str(messages[0] if isinstance(messages, list) else messages)
        return {"code": ErrorCode.INVALID_MESSAGE, "detail": f"{field}: {text}"}
    if isinstance(error, Throttled):
        return {
            "code": ErrorCode.RATE_LIMITED,
            "detail": "too many calls: wait as Retry-After says",
        }
    code = str(error.get_codes())
    return {"code": _CODES.get(code, code), "detail": str(error.detail)}
