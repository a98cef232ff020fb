"""Sessions in the admin: who is connected, on every instance, and ways to end it."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_permission_codename, get_user_model
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from realtime.admin import filters
from realtime.admin.confirmation import confirm, end_confirmed
from realtime.admin.endings import MAX_SESSIONS, disconnect_sessions
from realtime.admin.figures import (
    format_close_code,
    show_count,
    show_moment,
    show_size,
)
from realtime.admin.paging import BoundedPaginator, NarrowingChangeList
from realtime.admin.readonly import ReadOnlyAdmin
from realtime.admin.search import HELP, search_sessions
from realtime.models import Session

BEGIN = ("connected", "user_", "topic_", "address_", "instance_")
COUNTS = ("received", "sent", "received_bytes", "sent_bytes", "error_count", "skipped_count")


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    """Sessions, live ones first. Cells narrow the list to what they name."""

    list_display_links = ("connected",)
    list_filter = (
        filters.StateFilter,
        filters.UserFilter,
        filters.TopicFilter,
        filters.AddressFilter,
        filters.InstanceFilter,
        filters.TroubleFilter,
        filters.SignInFilter,
        filters.AgeFilter,
        filters.NamespaceFilter,
    )
    list_select_related = ("user", "instance")
    ordering = ("-connected_at", "-pk")
    search_fields = ("id",)  # that there is a search; `get_search_results` says how
    search_help_text = HELP
    paginator = BoundedPaginator
    actions = ("disconnect_sessions", "disconnect_users", "ban_users")
    fieldsets = (
        (None, {"fields": ("id", "user", "topic", "address", "user_agent", "instance")}),
        ("Time", {"fields": ("connected", "closed")}),
        ("Traffic", {"fields": (*COUNTS, "waiting")}),
    )
    change_list_template = "admin/realtime/session/change_list.html"
    change_form_template = "admin/realtime/session/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.end_confirmed_view)
        # Before the page of one session, whose path takes anything.
        return [path("users/", view, name="realtime_session_users"), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[NarrowingChangeList]:
        return NarrowingChangeList

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        # Before the counts: it is what one looks for, and narrow screens cut off the end.
        state = {None: ("waiting",), "ended": ("closed",)}
        return (*BEGIN, *state.get(request.GET.get("state"), ("waiting", "closed")), *COUNTS)

    def get_sortable_by(self, request: HttpRequest) -> tuple[str, ...]:
        """Live sessions by any count; among all that ever were, only by what has an index."""
        columns = self.get_list_display(request)
        return ("connected", "closed") if "closed" in columns else columns

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        return search_sessions(queryset, search_term), False

    # Columns, which the page of one session shows too

    @admin.display(description="connected", ordering="connected_at")
    def connected(self, session: Session) -> SafeString:
        return show_moment(session.connected_at)

    @admin.display(description="user", ordering="user__username")
    def user_(self, session: Session) -> SafeString:
        if session.user_id is None:
            return format_html('<span class="quiet">{}</span>', "anonymous")
        # A user who was deleted past Django leaves the key behind.
        name = session.user.get_username() if session.user else f"user {session.user_id}"
        return _narrow(session, name, user=session.user_id)

    @admin.display(description="topic", ordering="topic")
    def topic_(self, session: Session) -> SafeString:
        return _narrow(session, session.topic, topic=session.topic)

    @admin.display(description="address", ordering="address")
    def address_(self, session: Session) -> SafeString | str:
        return _narrow(session, session.address, address=session.address)

    @admin.display(description="instance", ordering="instance__host")
    def instance_(self, session: Session) -> SafeString:
        return _narrow(session, session.instance, instance=session.instance_id)

    @admin.display(description="messages in", ordering="messages_in")
    def received(self, session: Session) -> SafeString:
        return show_count(session.messages_in)

    @admin.display(description="messages out", ordering="messages_out")
    def sent(self, session: Session) -> SafeString:
        return show_count(session.messages_out)

    @admin.display(description="data in", ordering="bytes_in")
    def received_bytes(self, session: Session) -> SafeString:
        return show_size(session.bytes_in)

    @admin.display(description="data out", ordering="bytes_out")
    def sent_bytes(self, session: Session) -> SafeString:
        return show_size(session.bytes_out)

    @admin.display(description="errors", ordering="errors")
    def error_count(self, session: Session) -> SafeString:
        return show_count(session.errors)

    @admin.display(description="skipped", ordering="skipped")
    def skipped_count(self, session: Session) -> SafeString:
        return show_count(session.skipped)

    @admin.display(description="waiting", ordering="waiting_bytes")
    def waiting(self, session: Session) -> SafeString:
        """What the client had not read; a mark that it is slow."""
        size = show_size(session.waiting_bytes)
        if session.closed_at is not None or not session.waiting_bytes:
            return size
        return format_html('<strong class="realtime-slow">{}</strong>', size)

    @admin.display(description="closed", ordering="closed_at")
    def closed(self, session: Session) -> SafeString | str:
        if session.closed_at is None:
            return "–"
        moment = show_moment(session.closed_at)
        if session.close_code is None:
            return format_html("{}<br>{}", moment, "with its instance")
        return format_html("{}<br>{}", moment, format_close_code(session.close_code))

    # Actions

    @admin.action(description="Disconnect the chosen sessions (4002)", permissions=["disconnect"])
    def disconnect_sessions(self, request: HttpRequest, queryset: Any) -> None:
        """End each chosen live session, up to a number."""
        live = list(queryset.live().values_list("pk", flat=True)[: MAX_SESSIONS + 1])
        outcome = disconnect_sessions(live[:MAX_SESSIONS], actor=request.user)
        text = ngettext(
            "%d session was told to disconnect.",
            "%d sessions were told to disconnect.",
            outcome.done,
        )
        self.message_user(request, text % outcome.done, messages.SUCCESS)
        if outcome.failure:
            self.message_user(request, outcome.failure, messages.ERROR)
        if len(live) > MAX_SESSIONS:
            self.message_user(
                request,
                f"There are more: one click ends {MAX_SESSIONS:,} at most. Choose again, or "
                "disconnect all sessions of the users, which takes any number.",
                messages.WARNING,
            )

    @admin.action(
        description="Disconnect all sessions of their users (4002) …", permissions=["disconnect"]
    )
    def disconnect_users(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask first, then end whatever these users have open anywhere."""
        return confirm(self, request, queryset, deed="disconnect")

    @admin.action(description="Ban their users (4505) …", permissions=["ban"])
    def ban_users(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask first, then deactivate the users and end whatever they have open."""
        return confirm(self, request, queryset, deed="ban")

    def end_confirmed_view(self, request: HttpRequest) -> HttpResponse:
        """What the page of confirmation asks for."""
        return end_confirmed(self, request)

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("realtime.disconnect_session")

    def has_ban_permission(self, request: HttpRequest) -> bool:
        """Who may change users may ban one."""
        options = get_user_model()._meta
        codename = get_permission_codename("change", options)
        return request.user.has_perm(f"{options.app_label}.{codename}")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one session, with a button for each action that is allowed."""
        context = {
            "subtitle": None,  # the breadcrumbs say it
            "may_disconnect": self.has_disconnect_permission(request),
            "may_ban": self.has_ban_permission(request),
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)


def _narrow(session: Session, text: Any, **filters: Any) -> SafeString:
    address = session.narrow(**filters)  # type: ignore[attr-defined]  # of the list
    return format_html('<a href="{}">{}</a>', address, text)
