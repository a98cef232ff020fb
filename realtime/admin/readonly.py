"""What all lists here have in common: people read them, and only the server writes the rows."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list to read, over the whole width of the window: without the side bar of all models."""

    show_facets = admin.ShowFacets.NEVER  # each would count all rows once more
    show_full_result_count = False
    list_per_page = 100
    list_max_show_all = 0

    class Media:
        css: dict[str, list[str]] = {"all": ["realtime/admin.css"]}  # noqa: RUF012 (Django's)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, under its own name."""
        refuse_zeros(request)
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {**_name(title), **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One row, as wide as the list."""
        context = {**_name(str(self.opts.verbose_name).capitalize()), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)


def refuse_zeros(request: HttpRequest) -> None:
    """Raise SuspiciousOperation (400) for a query that no text of PostgreSQL can match."""
    if "%00" in request.META.get("QUERY_STRING", ""):
        raise SuspiciousOperation("a query with a zero byte")


def _name(title: str) -> dict[str, Any]:
    return {"title": title, "is_nav_sidebar_enabled": False}
