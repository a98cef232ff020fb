"""Rows of instances and sessions, as servers would have written them."""

import itertools
import uuid
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from realtime.models import Instance, Session

_numbers = itertools.count()


def build_instance(id: str, *, alive: bool = True, **values: Any) -> Instance:
    now = timezone.now()
    lease = now + timedelta(hours=1) if alive else now - timedelta(minutes=1)
    values = {"host": f"host-{id}", "pid": 1, "lease_until": lease, **values}
    return Instance.objects.create(id=id, **values)


def build_session(instance: Instance, topic: str = "broadcast:a", **values: Any) -> Session:
    values = {"connected_at": timezone.now() - timedelta(minutes=3), **values}
    return Session.objects.create(
        id=uuid.UUID(int=next(_numbers)),
        instance=instance,
        namespace=topic.partition(":")[0],
        topic=topic,
        **values,
    )


def build_three() -> dict[str, Session]:
    """A live session, an ended one, and one whose instance died."""
    alive, dead = build_instance("alive"), build_instance("dead", alive=False)
    return {
        "live": build_session(alive, "broadcast:live"),
        "ended": build_session(alive, "broadcast:ended", closed_at=timezone.now(), close_code=4002),
        "orphan": build_session(dead, "broadcast:orphan"),
    }


def fill_table(*, ended: int, live: int) -> None:
    """That many sessions of 1,000 users on 4 live instances and 300 that have ended."""
    for number in range(304):
        build_instance(f"i{number}", alive=number < 4)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {} - 1) "
    with connection.cursor() as cursor:
        cursor.execute(
            f"{numbers.format(1000)} INSERT INTO accounts_user (id, password, is_superuser, "
            "username, first_name, last_name, email, is_staff, is_active, date_joined, "
            "token_version) SELECT 1000 + i, 'x', 0, 'user' || i, '', '', '', 0, 1, "
            "'2026-01-01', 0 FROM n"
        )
        cursor.execute(
            f"{numbers.format(ended + live)} INSERT INTO realtime_session (id, instance_id, "
            "epoch, user_id, namespace, topic, address, user_agent, connected_at, closed_at, "
            "close_code, messages_in, messages_out, bytes_in, bytes_out, errors, skipped, "
            "waiting_bytes) SELECT printf('%032x', i), 'i' || "
            f"(CASE WHEN i % {ended + live} < {live} THEN i % 4 ELSE 4 + i % 300 END), 1, "
            "CASE WHEN i % 5 = 0 THEN NULL ELSE 1000 + i % 1000 END, 'broadcast', "
            "'broadcast:t' || (i % 2000), '10.0.' || (i % 250) || '.' || (i % 7), '', "
            "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || (i * 10) || ' seconds'), "
            f"CASE WHEN i < {live} THEN NULL ELSE strftime('%Y-%m-%d %H:%M:%f', 'now') END, "
            "1000, i % 977, i % 1777, i, 3 * i, i % 100 = 0, 0, i % 300 = 0 FROM n"
        )
