"""The token endpoints: section 9 of the protocol."""

from dataclasses import asdict
from typing import Any

from django.contrib.auth import authenticate
from django.db import transaction
from django.utils.decorators import method_decorator
from rest_framework import status
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.throttling import BaseThrottle

from accounts.authentication import bad_tokens_as_401
from accounts.bearer import CHALLENGE
from accounts.metrics import Where, count_refusal
from accounts.models import User
from accounts.origins import is_foreign_page
from accounts.schema import GOOD_TOKEN, TOKEN_REFUSALS, TOO_OTHER, TokenPairSerializer
from accounts.serializers import RefreshSerializer, SignInSerializer, VerifySerializer
from accounts.throttles import (
    Attempt,
    CallThrottle,
    FailureThrottle,
    LockoutThrottle,
    check_failures,
    note_failure,
)
from accounts.tokens import issue_tokens, revoke_refresh_token, rotate_refresh_token
from accounts.turns import password_turn
from accounts.validation import TokenKind, find_sid, validate_access_token
from realtime import RestView, errors
from realtime.openapi import operation

# The longest body that makes sense: a token of 8 KiB, or a password with each letter escaped.
MAX_BODY = 32 * 1024


class TokenView(RestView):
    """What the four have in common: the body is the credential, and attempts are throttled.

    What cannot be an attempt, by its method, origin, media type or body, is refused and counts for
    nothing: any page of the web can have browsers send such requests from their addresses.
    """

    authentication_classes = ()
    throttle_classes: tuple[type[BaseThrottle], ...] = (CallThrottle,)
    throttle_scope = "token"
    where: Where = "token"  # as which its refusals are counted
    serializer_class: type[Serializer[Any]] = RefreshSerializer
    attempt = Attempt()

    def get_authenticate_header(self, request: Request) -> str:
        """Without one, REST framework would make each 401 a 403."""
        return CHALLENGE

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse the pages of other origins before anything else is looked at."""
        self.check_origin(request)
        super().initial(request, *args, **kwargs)

    def check_origin(self, request: Request) -> None:
        """Raise PermissionDenied for a page that may not call this."""
        if is_foreign_page(request):
            raise PermissionDenied(
                "Pages of this origin may not sign in here: see DJANGO_ALLOWED_ORIGINS."
            )

    def check_throttles(self, request: Request) -> None:
        """Nothing yet: REST framework calls this before it knows whether this is an attempt."""

    def begin_attempt(self, attempt: Attempt) -> None:
        """Count what is tried; raises Throttled (429). A throttle that refuses ends the matter."""
        self.attempt = attempt
        for throttle in self.get_throttles():
            if not throttle.allow_request(self.request, self):
                raise Throttled(throttle.wait())

    def read_token(self, name: str, kind: TokenKind) -> str:
        """The token in the body, counted for the sign-in that it is of, or else the address."""
        token: str = self.read_body()[name]
        self.begin_attempt(Attempt(sid=find_sid(token, kind=kind)))
        return token

    def read_body(self) -> dict[str, Any]:
        """The validated body; raises ValidationError (400), or MessageTooBig."""
        if int(self.request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY:
            raise errors.MessageTooBig(f"the body is longer than {MAX_BODY} bytes")
        serializer = self.serializer_class(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class PasswordView(TokenView):
    """What takes a password: its failures are bounded, and more tightly than its calls."""

    throttle_classes = (LockoutThrottle, FailureThrottle, CallThrottle)
    throttle_scope = "sign_in"
    serializer_class = SignInSerializer

    def read_password(self) -> dict[str, str]:
        """`username` and `password` from the body, counted for the name and the address."""
        body: dict[str, str] = self.read_body()
        self.begin_attempt(Attempt(username=body["username"]))
        return body


class ObtainView(PasswordView):
    """POST `username`, `password` → `access`, `refresh`."""

    @operation(
        "obtain_tokens",
        tag="Tokens",
        request=SignInSerializer,
        answers={200: TokenPairSerializer},
        refusals=[*TOKEN_REFUSALS, errors.ErrorCode.AUTHENTICATION_REQUIRED],
        more_refusals=TOO_OTHER,
    )
    def post(self, request: Request) -> Response:
        """Sign in.

        Answers an access token, and a refresh token that gets the next one.
        """
        user = authenticate_user(request, **self.read_password())
        return Response(asdict(issue_tokens(user)))


# The end of a stolen sign-in is kept although the answer is an error.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class RefreshView(TokenView):
    """POST `refresh` → `access` and the next `refresh`; the given one is spent."""

    where = "refresh"

    @operation(
        "refresh_tokens",
        tag="Tokens",
        request=RefreshSerializer,
        answers={200: TokenPairSerializer},
        refusals=[*TOKEN_REFUSALS, errors.ErrorCode.INVALID_TOKEN],
        more_refusals=TOO_OTHER,
    )
    def post(self, request: Request) -> Response:
        """Get the next tokens.

        The refresh token that is given is spent. Used again, it ends its sign-in.
        """
        token = self.read_token("refresh", "refresh")
        with bad_tokens_as_401(self.where):
            return Response(asdict(rotate_refresh_token(token)))


class VerifyView(TokenView):
    """POST `token`, an access token → 200 `{}` where the server would take it."""

    serializer_class = VerifySerializer

    @operation(
        "verify_token",
        tag="Tokens",
        request=VerifySerializer,
        answers={200: GOOD_TOKEN},
        refusals=[*TOKEN_REFUSALS, errors.ErrorCode.INVALID_TOKEN],
        more_refusals=TOO_OTHER,
    )
    def post(self, request: Request) -> Response:
        """Verify an access token.

        Answers whether the server would take it.
        """
        token = self.read_token("token", "access")
        with bad_tokens_as_401(self.where):
            validate_access_token(token)
        return Response({})


class RevokeView(TokenView):
    """POST `refresh` → 204: its sign-in, with all its tokens and live sessions, is over."""

    @operation(
        "revoke_tokens",
        tag="Tokens",
        request=RefreshSerializer,
        answers={204: "Signed out."},
        refusals=[*TOKEN_REFUSALS, errors.ErrorCode.INVALID_TOKEN],
        more_refusals=TOO_OTHER,
    )
    def post(self, request: Request) -> Response:
        """Sign out.

        The sign-in of this refresh token, with all its tokens and live sessions, is over.
        """
        token = self.read_token("refresh", "refresh")
        with bad_tokens_as_401(self.where):
            revoke_refresh_token(token)
        return Response(status=status.HTTP_204_NO_CONTENT)


def authenticate_user(request: Request, *, username: str, password: str) -> User:
    """The user with that name and password; AuthenticationFailed (401) where there is none.

    Takes as long for an unknown user as for a wrong password. Raises Throttled where others of
    this address have failed too often while this call waited for its turn.
    """
    with password_turn():
        check_failures(request)
        user = authenticate(request, username=username, password=password)
        if user is None:
            note_failure(request)
    if not isinstance(user, User):
        count_refusal("token", "credentials")
        raise AuthenticationFailed(
            "The username or the password is wrong.",
            code=errors.ErrorCode.AUTHENTICATION_REQUIRED,
        )
    return user
