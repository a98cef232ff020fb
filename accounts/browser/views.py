"""Sign in, get the next access token, sign out: for a web page of this server's own origin."""

import contextlib
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils.decorators import method_decorator
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.settings import api_settings

from accounts.browser.cookie import clear_cookie, read_cookie, set_cookie
from accounts.browser.renewal import renew_tokens
from accounts.metrics import count_bad_token
from accounts.models import User
from accounts.origins import is_own_origin
from accounts.throttles import Attempt
from accounts.tokens import TokenPair, issue_tokens, revoke_refresh_token
from accounts.validation import find_sid
from accounts.views import PasswordView, TokenView, authenticate_user
from realtime import errors


class BrowserView(TokenView):
    """What the three have in common: pages of other origins are refused, and no cache keeps it.

    The cookie's SameSite keeps other sites out, but not a sibling subdomain, nor an attacker who
    signs a victim in to the attacker's own account; the Origin does. Without one it was no
    browser, and so no forgery.
    """

    schema = None  # it is no part of the API: for this server's own pages alone

    def check_origin(self, request: Request) -> None:
        """Refuse a foreign page, also one that may call the rest of the API."""
        origin = request.headers.get("Origin")
        if origin is not None and not is_own_origin(origin, host=request.get_host()):
            raise PermissionDenied("This is for pages of this server's own origin.")
        super().check_origin(request)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Nobody between here and the page keeps an answer."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response


class BrowserSignInView(BrowserView, PasswordView):
    """POST `username`, `password` → `access`, `expires_in`, `username`, and the cookie."""

    def post(self, request: Request) -> Response:
        """Sign in."""
        user = authenticate_user(request, **self.read_password())
        return _answer(request, user=user, pair=issue_tokens(user))


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class BrowserRefreshView(BrowserView):
    """POST → as signing in answers; 204 where this browser is not, or no longer, signed in."""

    where = "refresh"

    def post(self, request: Request) -> Response:
        """Renew. A cookie that is no good any more goes."""
        refresh = read_cookie(request)
        if refresh is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        self.begin_attempt(Attempt(sid=find_sid(refresh, kind="refresh")))
        try:
            user, pair = renew_tokens(refresh)
        except errors.InvalidToken as error:
            count_bad_token(self.where, error)
            return _answer_without_cookie(request)
        return _answer(request, user=user, pair=pair)


class BrowserSignOutView(BrowserView):
    """POST → 204: the sign-in, with all its tokens and live sessions, is over."""

    def post(self, request: Request) -> Response:
        """Sign out. A cookie that was no good has nothing to end, and goes all the same."""
        refresh = read_cookie(request)
        if refresh is not None:
            self.begin_attempt(Attempt(sid=find_sid(refresh, kind="refresh")))
            with contextlib.suppress(errors.InvalidToken):
                revoke_refresh_token(refresh)
        return _answer_without_cookie(request)


def _answer(request: HttpRequest, *, user: User, pair: TokenPair) -> Response:
    """The access token for the page's memory, the refresh token for the cookie."""
    response = Response(
        {
            "access": pair.access,
            "expires_in": api_settings.ACCESS_TOKEN_LIFETIME.total_seconds(),
            "username": user.get_username(),
        }
    )
    set_cookie(request, response, pair.refresh)
    return response


def _answer_without_cookie(request: HttpRequest) -> Response:
    response = Response(status=status.HTTP_204_NO_CONTENT)
    clear_cookie(request, response)
    return response
