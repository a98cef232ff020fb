"""`manage.py prune_sign_ins`."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.management.commands import prune_sign_ins
from accounts.models import SignIn, SpentToken, User
from accounts.tokens import issue_tokens, rotate_refresh_token
from accounts.validation import validate_access_token


def prune() -> str:
    out = StringIO()
    call_command("prune_sign_ins", stdout=out)
    return out.getvalue()


def spend(sign_in: SignIn, jti: str, *, hours: int) -> None:
    """A spent token of it that expired so many hours ago."""
    now = timezone.now()
    SpentToken.objects.create(
        jti=jti, sign_in=sign_in, spent_at=now, expires_at=now - timedelta(hours=hours)
    )


def test_only_what_expired_over_a_day_ago_goes(user: User) -> None:
    pair = issue_tokens(user)
    living = SignIn.objects.get()
    rotated = rotate_refresh_token(pair.refresh)
    spend(living, "long over", hours=25)
    spend(living, "just over", hours=23)
    for hours in (23, 25):
        expiry = timezone.now() - timedelta(hours=hours)
        spend(SignIn.objects.create(user=user, expires_at=expiry), f"of {hours}", hours=hours)
    assert prune() == "1 sign-ins and 1 further spent tokens deleted.\n"
    assert SignIn.objects.count() == 2
    assert SpentToken.objects.filter(jti__contains=" ").count() == 2
    validate_access_token(rotated.access)
    assert prune() == "0 sign-ins and 0 further spent tokens deleted.\n"


@pytest.mark.parametrize("count", [6, 7])
def test_it_goes_in_batches(
    user: User, count: int, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(prune_sign_ins, "BATCH", 3)
    SignIn.objects.bulk_create(
        SignIn(user=user, expires_at=timezone.now() - timedelta(days=2)) for _ in range(count)
    )
    assert prune().startswith(f"{count} sign-ins")
    assert not SignIn.objects.exists()
