"""Finding sessions by what somebody types, with an index for each way."""

import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections, router
from django.db.models import Q

from realtime.models import Session, SessionQuerySet

HELP = (
    "A session’s id, or what the user name, topic or address begins with. Several words have to "
    "match all. Upper and lower case differ."
)
# Users whose sessions are looked up one by one.
MAX_USERS = 1000
_LAST = "\U0010ffff"


def search_sessions(sessions: SessionQuerySet, text: str) -> SessionQuerySet:
    """The sessions that match every word."""
    for word in text.split():
        sessions = sessions.filter(_match(word))
    return sessions


def begins(field: str, text: str) -> Q:
    """That a column begins with a text, in a form for which an index on the column serves."""
    if connections[router.db_for_read(Session)].vendor == "sqlite":
        # LIKE takes no index here, as it makes no difference between cases; bytes do.
        return Q(**{f"{field}__gte": text, f"{field}__lt": text + _LAST})
    return Q(**{f"{field}__startswith": text})


def _match(word: str) -> Q:
    try:
        return Q(pk=uuid.UUID(word))
    except ValueError:
        return begins("topic", word) | begins("address", word) | Q(user__in=_find_users(word))


def _find_users(word: str) -> Any:
    """Keys, so that the planner looks each one up in the index of sessions; many: a subquery."""
    model = get_user_model()
    users = model._default_manager.filter(begins(model.USERNAME_FIELD, word))
    keys = users.order_by().values_list("pk", flat=True)
    few = list(keys[: MAX_USERS + 1])
    return few if len(few) <= MAX_USERS else keys
