"""Users and their sign-ins in the admin."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

import realtime
from accounts.addresses import find_address
from accounts.metrics import count_refusal
from accounts.models import SignIn, User
from accounts.throttles import count_attempt
from accounts.turns import password_turn
from realtime import errors


class SignInForm(AdminAuthenticationForm):
    """Django's own, with a turn for each password, and a bound on those of an address."""

    def clean(self) -> dict[str, Any]:
        """Check the password, and see to the lockout of `accounts.lockouts`."""
        assert self.request is not None
        if count_attempt(find_address(self.request), "sign_in") is not None:
            count_refusal("admin", "rate_limited")
            raise ValidationError(
                "Too many sign-ins from your address: try again in a minute.",
                code=errors.ErrorCode.RATE_LIMITED,
            )
        try:
            with password_turn():
                return super().clean()
        except errors.Unavailable as error:
            raise ValidationError(error.detail, code=error.code) from error


admin.site.login_form = SignInForm


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    """Django's own, which saves a new password and a deactivation through `User.save`.

    What that ends is noted as ended by whoever uses the form.
    """

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """One user, as of now or as sent."""
        with realtime.acting_as(request.user, door="admin"):
            return super().changeform_view(request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The list, and its actions."""
        with realtime.acting_as(request.user, door="admin"):
            return super().changelist_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The question, and the deed."""
        with realtime.acting_as(request.user, door="admin"):
            return super().delete_view(request, *args, **kwargs)

    def user_change_password(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Another password for a user."""
        with realtime.acting_as(request.user, door="admin"):
            return super().user_change_password(request, *args, **kwargs)

    def get_deleted_objects(
        self, objs: QuerySet[User] | Sequence[User], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Sign-ins go with their user, although nobody may delete one by itself."""
        deleted, counts, lacking, protected = super().get_deleted_objects(objs, request)
        lacking.discard(str(SignIn._meta.verbose_name))
        return deleted, counts, lacking, protected


@admin.register(SignIn)
class SignInAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """To look at only."""

    list_display = ("sid", "user", "created_at", "expires_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("=sid", "user__username")
    date_hierarchy = "created_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Signing in makes one."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        """It is a record."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        """It goes with its user."""
        return False
