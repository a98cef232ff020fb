"""Users, and the sign-ins that their tokens descend from."""

from typing import Any
from uuid import uuid4

from django.contrib.auth.hashers import get_hasher, identify_hasher, is_password_usable
from django.contrib.auth.models import AbstractUser
from django.db import models, transaction

from accounts.live_sessions import end_live_sessions, recheck_live_sessions

# Of the id of a token: 32 digits, made by simplejwt.
MAX_JTI_LENGTH = 64

# Saving one of these can end every token of the user, or change what the user may do.
_WATCHED_FIELDS = frozenset({"password", "is_active", "is_staff", "is_superuser"})


class User(AbstractUser):
    """A user; `token_version` is the `ver` that a token must carry to be accepted."""

    token_version = models.PositiveIntegerField(default=0, editable=False)

    # AbstractBaseUser's own: what set_password() was given, until it is saved.
    _password: str | None

    def save(self, **kwargs: Any) -> None:
        """Save; a new password or a deactivation ends all tokens and live sessions.

        It raises `token_version` in the same transaction. Live sessions of who becomes, or is no
        longer, staff or a superuser are looked at anew. `QuerySet.update()` passes this by.
        """
        written = kwargs.get("update_fields")
        touched = _WATCHED_FIELDS if written is None else _WATCHED_FIELDS & {*written}
        if self._state.adding or not touched:
            super().save(**kwargs)
            return
        with transaction.atomic():
            # Locked, and read anew: an instance that was loaded earlier must not lower the version.
            stored = User.objects.select_for_update().filter(pk=self.pk).first()
            if stored is not None:
                self.token_version = stored.token_version
                if self._ends_tokens(stored=stored, touched=touched):
                    self.token_version += 1
                    end_live_sessions(
                        user=self.pk,
                        reason="a new password" if self.is_active else "the user is not active",
                    )
                elif self._changes_powers(stored=stored, touched=touched):
                    recheck_live_sessions([self.pk])
                if written is not None:
                    kwargs["update_fields"] = {*written, "token_version"}
            super().save(**kwargs)

    def _ends_tokens(self, *, stored: "User", touched: frozenset[str]) -> bool:
        if "is_active" in touched and stored.is_active and not self.is_active:
            return True
        if "password" not in touched or stored.password == self.password:
            return False
        # How Django itself stores the same password under a newer hash after a sign-in
        # (AbstractBaseUser.check_password): this field alone, no raw password kept, and an
        # outdated hash before.
        is_upgrade = (
            touched == {"password"}
            and self._password is None
            and is_password_usable(self.password)
            and _is_outdated(stored.password)
        )
        return not is_upgrade

    def _changes_powers(self, *, stored: "User", touched: frozenset[str]) -> bool:
        powers = touched & {"is_staff", "is_superuser"}
        return any(getattr(stored, name) != getattr(self, name) for name in powers)


def _is_outdated(password: str) -> bool:
    """Whether Django would store this password under a newer hash."""
    try:
        hasher = identify_hasher(password)
    except ValueError:  # no password, or of a hasher that is no more
        return False
    return hasher.algorithm != get_hasher().algorithm or hasher.must_update(password)


class SignIn(models.Model):
    """One sign-in with a password: the tokens that descend from it end with it.

    `expires_at` is when the last of them expires; `manage.py prune_sign_ins` deletes it after.
    """

    sid = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_ins")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        verbose_name = "sign-in"
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return str(self.sid)


class SpentToken(models.Model):
    """A refresh token that was used. Its id is unique, so of many uses at once one is the first.

    The text of the token is not stored: a copy of the database shall hold no credentials.
    """

    jti = models.CharField(primary_key=True, max_length=MAX_JTI_LENGTH, editable=False)
    sign_in = models.ForeignKey(SignIn, on_delete=models.CASCADE, related_name="spent_tokens")
    spent_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.jti
