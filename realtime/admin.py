"""Sessions in Django's admin: who is connected, on every instance, and a way to end it."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import ngettext

from realtime.control import disconnect
from realtime.core.errors import Unavailable
from realtime.models import Instance, Session


class StateFilter(admin.SimpleListFilter):
    """Live or ended; live is what one wants to see first."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("ended", "Ended"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        chosen = self.value()
        for value, title in ((None, "Live"), *self.lookup_choices):
            yield {
                "selected": chosen == value,
                "query_string": changelist.get_query_string({self.parameter_name: value})
                if value
                else changelist.get_query_string(remove=[self.parameter_name]),
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


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The server writes these rows; people read them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    """Sessions, live ones first."""

    list_display = (
        "topic",
        "user",
        "address",
        "instance",
        "connected_at",
        "closed_at",
        "close_code",
        "messages_in",
        "messages_out",
    )
    list_filter = (StateFilter, "instance")
    show_full_result_count = False
    list_select_related = ("user", "instance")
    search_fields = ("topic", "user__username", "address", "id")
    date_hierarchy = "connected_at"
    actions = ("disconnect_sessions",)

    @admin.action(description="Disconnect the chosen live sessions", permissions=["disconnect"])
    def disconnect_sessions(self, request: HttpRequest, queryset: "QuerySet[Session]") -> None:
        """Close each chosen live session with 4002, on whatever instance it is."""
        live = queryset.filter(closed_at=None, instance__lease_until__gt=Now())
        told = 0
        try:
            for session in live:
                disconnect(session=str(session.pk))
                told += 1
        except Unavailable as error:
            self.message_user(
                request, f"Other instances cannot be reached: {error.detail}", messages.ERROR
            )
        text = ngettext(
            "%d session was told to disconnect.", "%d sessions were told to disconnect.", told
        )
        self.message_user(request, text % told, messages.SUCCESS)

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("realtime.disconnect_session")


@admin.register(Instance)
class InstanceAdmin(ReadOnlyAdmin):
    """Server processes; a lease in the past means that one has ended."""

    list_display = ("id", "host", "pid", "started_at", "lease_until")
