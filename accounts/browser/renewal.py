"""The next access token for a browser that is signed in."""

from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from accounts.models import User
from accounts.tokens import RefreshToken, TokenPair
from accounts.validation import check_claims, decode_token
from realtime import errors


def renew_tokens(refresh: str) -> tuple[User, TokenPair]:
    """The user and the next pair of the same sign-in; raises InvalidToken or TokenExpired.

    The given token is not spent, unlike in `accounts.tokens.rotate_refresh_token`: all tabs of a
    browser share one cookie, so two that renew at once, or one whose answer was lost as the page
    was reloaded, would else be signed out. A token that was spent or revoked is refused here too.
    """
    claims = decode_token(token=refresh, token_type="refresh")  # noqa: S106 (a type, no secret)
    sign_in = check_claims(claims)
    if BlacklistedToken.objects.filter(token__jti=claims.jti).exists():
        raise errors.InvalidToken("The refresh token has been used or revoked: sign in again.")
    following = RefreshToken.for_sign_in(sign_in)
    pair = TokenPair(access=str(following.access_token), refresh=str(following))
    return sign_in.user, pair
