"""Lists that may be very long: how many there are is counted up to a bound."""

from functools import cached_property, partial
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.http import HttpRequest

# Counting a whole table takes as long as reading it; nobody turns a hundred pages either.
MOST_COUNTED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of a queryset up to a number of rows; `is_cut` says that there are more."""

    @cached_property
    def count(self) -> int:
        return min(self._looked_at, MOST_COUNTED)

    @property
    def is_cut(self) -> bool:
        return self._looked_at > MOST_COUNTED

    @property
    def count_text(self) -> str:
        """1,234, or 10,000+."""
        return f"{self.count:,}{'+' if self.is_cut else ''}"

    @cached_property
    def _looked_at(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MOST_COUNTED + 1].count())


class NarrowingChangeList(ChangeList):
    """Each row can tell the address of this list with one more filter: `row.narrow(topic=…)`."""

    @property
    def ended_query(self) -> str:
        """The same question to the sessions that have ended."""
        return self.get_query_string({"state": "ended"})

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        for row in self.result_list:
            row.narrow = partial(_narrow, self)


def _narrow(changelist: ChangeList, **filters: Any) -> str:
    return changelist.get_query_string(filters)
