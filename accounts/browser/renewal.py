"""The next access token for a browser that is signed in."""

from django.utils import timezone

from accounts.models import SpentToken, User
from accounts.tokens import TokenPair, end_if_stolen, issue_next_tokens
from accounts.validation import check_claims, decode_token


def renew_tokens(refresh: str) -> tuple[User, TokenPair]:
    """The user and the next pair of the same sign-in; raises InvalidToken or TokenExpired.

    The given token is not spent, unlike in `accounts.tokens.rotate_refresh_token`: all tabs of a
    browser share one cookie, so two that renew at once, or one whose answer was lost as the page
    was reloaded, would else be signed out. No page spends it either. So one that was spent has
    been taken out of the cookie by somebody, and is treated as every token that is used again.
    """
    claims = decode_token(token=refresh, kind="refresh")
    sign_in = check_claims(claims)
    spent = SpentToken.objects.filter(pk=claims.jti).first()
    if spent is not None:
        raise end_if_stolen(spent, now=timezone.now())
    return sign_in.user, issue_next_tokens(sign_in)
