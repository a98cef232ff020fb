"""How the list of sessions is narrowed. No filter asks the table of sessions what there is."""

from datetime import timedelta
from ipaddress import ip_address
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models.functions import Now
from django.http import HttpRequest

from realtime.conf import get_settings
from realtime.models import Instance

# Sorting differs between the states: what a page or an order means elsewhere, it does not here.
_PLACE = ["p", "o"]
# Live instances that the filter lists.
MAX_INSTANCES = 20


class StateFilter(admin.SimpleListFilter):
    """Live ones are what one wants to see first."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("ended", "Ended"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        for value, title in ((None, "Live"), *self.lookup_choices):
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({"state": value}, remove=_PLACE),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "all":
                return queryset
            case "ended":
                return queryset.ended()
            case _:
                return queryset.live()


class FixedFilter(admin.SimpleListFilter):
    """A few choices, each of which is a condition."""

    conditions: ClassVar[dict[str, tuple[str, dict[str, Any]]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, title) for value, (title, _) in self.conditions.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        _, condition = self.conditions.get(self.value() or "", ("", {}))
        return queryset.filter(**condition)


class TroubleFilter(FixedFilter):
    title = "trouble"
    parameter_name = "trouble"
    conditions: ClassVar = {
        "slow": ("Slow: data waits", {"waiting_bytes__gt": 0}),
        "skipped": ("Skipped publications", {"skipped__gt": 0}),
        "errors": ("With errors", {"errors__gt": 0}),
    }


class SignInFilter(FixedFilter):
    title = "sign-in"
    parameter_name = "signed_in"
    conditions: ClassVar = {
        "yes": ("Signed in", {"user__isnull": False}),
        "no": ("Anonymous", {"user": None}),
    }


class AgeFilter(FixedFilter):
    title = "age"
    parameter_name = "age"
    conditions: ClassVar = {
        "new": ("Under 5 minutes", {"connected_at__gt": Now() - timedelta(minutes=5)}),
        "hour": ("Over 1 hour", {"connected_at__lt": Now() - timedelta(hours=1)}),
        "day": ("Over 1 day", {"connected_at__lt": Now() - timedelta(days=1)}),
    }


class NamespaceFilter(admin.SimpleListFilter):
    title = "namespace"
    parameter_name = "namespace"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in ("echo", *sorted(get_settings().namespaces))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset if self.value() is None else queryset.filter(namespace=self.value())


class InstanceFilter(admin.SimpleListFilter):
    """The live instances, and the one that was chosen elsewhere."""

    title = "instance"
    parameter_name = "instance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        alive = Instance.objects.filter(lease_until__gt=Now()).order_by("host", "pid")
        instances = {row.pk: str(row) for row in alive[:MAX_INSTANCES]}
        chosen = self.value()
        if chosen is not None and chosen not in instances:
            row = Instance.objects.filter(pk=chosen).first()
            instances[chosen] = chosen if row is None else str(row)
        return list(instances.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset if self.value() is None else queryset.filter(instance=self.value())


class ChosenFilter(admin.SimpleListFilter):
    """Nothing to choose from: it is there when a cell of the list was clicked on."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.value()
        return [] if chosen is None else [(chosen, self.name(chosen))]

    def name(self, value: str) -> str:
        """What stands in the list of filters."""
        return value

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        try:
            return queryset.filter(**{str(self.parameter_name): self.value()})
        except (ValueError, ValidationError) as error:  # no key of a user
            raise IncorrectLookupParameters(error) from error


class TopicFilter(ChosenFilter):
    title = "topic"
    parameter_name = "topic"


class AddressFilter(ChosenFilter):
    title = "address"
    parameter_name = "address"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        text = self.value()
        if text is not None:
            try:
                ip_address(text)
            except ValueError as error:  # PostgreSQL would say so, but later
                raise IncorrectLookupParameters(error) from error
        return super().queryset(request, queryset)


class UserFilter(ChosenFilter):
    title = "user"
    parameter_name = "user"

    def name(self, value: str) -> str:
        try:
            user = get_user_model()._default_manager.filter(pk=value).first()
        except (ValueError, ValidationError):  # the list says so
            return value
        return value if user is None else user.get_username()
