"""A hundred thousand sessions, of which ten thousand are live: the lists stay usable."""

import gc
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.admin.rows import fill_table

LIST = "/admin/realtime/session/"
QUERIES = (
    "",
    "?p=50",
    "?o=-8",
    "?state=ended",
    "?state=ended&p=100",
    "?state=all",
    "?user=1001",
    "?state=all&user=1001",
    "?topic=broadcast:t7",
    "?state=all&topic=broadcast:t7",
    "?address=10.0.7.0",
    "?state=all&address=10.0.7.0",
    "?instance=i1",
    "?state=all&instance=i77",
    "?trouble=slow",
    "?trouble=errors",
    "?trouble=skipped",
    "?signed_in=no",
    "?age=new",
    "?age=hour",
    "?age=day&state=all",
    "?namespace=broadcast",
    "?namespace=broadcast&state=ended",
    "?q=user77",
    "?q=broadcast:t10",
    "?q=10.0.7",
    "?state=all&q=user77",
    "?state=all&q=broadcast:t10 10.0.1",
    "?q=00000000-0000-0000-0000-000000000009",
)
# What a plan may walk through: a bounded part of a table, or all in the order of an index.
WALKS = re.compile(r"^SCAN realtime_session(?! USING INDEX realtime_session_connected_at)")


def test_every_list_filter_and_search_answers_soon_and_by_an_index(
    admin_client: Client, report: Callable[[str], None]
) -> None:
    fill_table(ended=90_000, live=10_000)
    times: dict[str, float] = {}
    for query in QUERIES:
        with CaptureQueriesContext(connection) as captured, timed(times, query):
            answer: Any = admin_client.get(LIST + query)
        assert answer.status_code == 200, query
        assert "result_list" in answer.content.decode() or "skipped" in query, query
        assert times[query] < 2, query
        for statement in captured:
            assert_planned(statement["sql"], query)
    with timed(times, "topics"):
        assert admin_client.get("/admin/realtime/livetopic/").status_code == 200
    assert times["topics"] < 2
    slowest = sorted(times.items(), key=lambda item: -item[1])[:5]
    report(", ".join(f"{query or 'live'}: {seconds * 1000:.0f} ms" for query, seconds in slowest))


@contextmanager
def timed(times: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds of this thread's own work, SQLite's too, and not of what others left."""
    gc.collect()
    gc.disable()
    began = time.thread_time()
    try:
        yield
    finally:
        times[name] = time.thread_time() - began
        gc.enable()


def assert_planned(sql: str, query: str) -> None:
    """Fail where a page of sessions comes out of a walk through the whole table."""
    if not sql.startswith("SELECT") or "realtime_session" not in sql:
        return
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        plan = [row[3] for row in cursor.fetchall()]
    is_counted = "COUNT" in sql and "LIMIT 10001" in sql
    assert is_counted or not any(map(WALKS.match, plan)), (query, sql, plan)


@pytest.mark.parametrize(("count", "text"), [(7, "7 sessions"), (12, "10+ sessions")])
def test_a_long_list_is_counted_up_to_a_bound(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, count: int, text: str
) -> None:
    monkeypatch.setattr("realtime.admin.paging.MOST_COUNTED", 10)
    monkeypatch.setattr("realtime.admin.sessions.SessionAdmin.list_per_page", 5)
    fill_table(ended=0, live=count)
    page = admin_client.get(LIST).content.decode()
    assert text in " ".join(page.split())
    assert f"Choose all {text}" in " ".join(page.split())
