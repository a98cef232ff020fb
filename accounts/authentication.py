"""Who makes a REST request: `Authorization: Bearer <access token>`."""

from collections.abc import Iterator
from contextlib import contextmanager

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.bearer import CHALLENGE, find_bearer
from accounts.metrics import Where, count_bad_token
from accounts.models import User
from accounts.validation import validate_access_token
from realtime import Identity, errors


class AccessTokenAuthentication(BaseAuthentication):
    """Sets `request.user`, and `request.auth` to the Identity.

    Another scheme than Bearer, or no header, is left to the authentication classes after this.
    """

    def authenticate(self, request: Request) -> tuple[User, Identity] | None:
        """The user and identity; AuthenticationFailed (401) for a bad token."""
        with bad_tokens_as_401("rest"):
            token = find_bearer([get_authorization_header(request)])
            if token is None:
                return None
            identity = validate_access_token(token)
        return identity.user, identity

    def authenticate_header(self, request: Request) -> str:
        """The WWW-Authenticate header of a 401."""
        return CHALLENGE


@contextmanager
def bad_tokens_as_401(where: Where) -> Iterator[None]:
    """Translate InvalidToken and TokenExpired into REST framework's 401, and count them."""
    try:
        yield
    except errors.InvalidToken as error:
        count_bad_token(where, error)
        raise AuthenticationFailed(error.detail, code=error.code) from error
