"""Who may do what: the policies of a namespace, and of the echo endpoint.

A policy is one of

- `anyone`, `authenticated`, `staff`;
- a permission of Django's, `app.codename`, where an app of that label is installed;
- the dotted path of a callable `(user, topic) -> bool`, sync or async; `topic` is the text
  `namespace:name`. A sync one runs in a thread and may use the database.

All but `anyone` want a signed-in user, so a callable never sees an anonymous one. Whatever the
policy says, a topic whose name is `user.<key>` is for the user with that primary key alone.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

from asgiref.sync import async_to_sync
from django.apps import apps
from django.db import Error as DatabaseFault
from django.utils.module_loading import import_string

from realtime.conf import Namespace, Policy
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.project_code import call_code, find_threads

logger = logging.getLogger("realtime.policies")

PERSONAL_PREFIX = "user."
# How long a policy may take to answer, in seconds.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do on a topic."""

    subscribe: bool
    publish: bool


NO_RIGHTS = Rights(subscribe=False, publish=False)


def is_open(policy: str, topic: Topic | None = None) -> bool:
    """Whether nobody has to sign in. `topic` is None for the echo endpoint."""
    return policy == Policy.ANYONE and find_owner(topic) is None


def find_owner(topic: Topic | None) -> str | None:
    """The primary key of the one user whom a personal topic is for; None of any other topic."""
    if topic is None or not topic.name.startswith(PERSONAL_PREFIX):
        return None
    return topic.name.removeprefix(PERSONAL_PREFIX)


def decide(policy: str, user: Any, topic: Topic | None = None) -> bool | None:
    """Whether the policy lets this user in; None where `ask()` has to find out.

    `user` None is an anonymous session.
    """
    if user is None:
        return is_open(policy, topic)
    if find_owner(topic) not in (None, str(user.pk)):
        return False
    match policy:
        case Policy.ANYONE | Policy.AUTHENTICATED:
            return True
        case Policy.STAFF:
            return bool(user.is_staff)
        case _:
            return None


async def ask(policy: str, user: Any, topic: Topic | None = None) -> bool:
    """Ask the database for a permission, or the project's own callable.

    Raises Unavailable where the database does not answer, or nothing does within
    `ANSWER_SECONDS`; what else the callable raises goes through.
    """
    deadline = asyncio.timeout(ANSWER_SECONDS)
    try:
        async with deadline:
            return await _ask(policy, user, topic, find_threads(f"policy {policy}"))
    except DatabaseFault as error:
        raise _give_up(policy, error) from error
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise _give_up(policy, f"no answer within {ANSWER_SECONDS:g} s") from error


def ask_in_view(policy: str, user: Any, topic: Topic | None = None) -> bool:
    """The same from a view, in whose own thread, and on whose connection, all of it runs."""
    try:
        return async_to_sync(_ask)(policy, user, topic, None)
    except DatabaseFault as error:
        raise _give_up(policy, error) from error


async def is_allowed(policy: str, user: Any, topic: Topic | None = None) -> bool:
    """Whether the policy lets this user in; `user` None is an anonymous session."""
    decided = decide(policy, user, topic)
    return await ask(policy, user, topic) if decided is None else decided


async def find_rights(namespace: Namespace, user: Any, topic: Topic) -> Rights:
    """What this user may do on a topic."""
    subscribe = await is_allowed(namespace.subscribe, user, topic)
    if namespace.publish == namespace.subscribe:
        return Rights(subscribe, subscribe)
    return Rights(subscribe, await is_allowed(namespace.publish, user, topic))


def is_permission(policy: str) -> bool:
    """Whether a policy is a permission of an installed app, and no path of a callable."""
    label, _, codename = policy.partition(".")
    return "." not in codename and label in apps.app_configs


@cache
def load_callable(path: str) -> Callable[[Any, str], Any]:
    """The callable at a dotted path; raises ImportError."""
    judge: Callable[[Any, str], Any] = import_string(path)
    return judge


async def _ask(
    policy: str, user: Any, topic: Topic | None, threads: ThreadPoolExecutor | None
) -> bool:
    if is_permission(policy):
        return bool(await call_code(user.has_perm, policy, threads=threads))
    name = "" if topic is None else str(topic)
    return bool(await call_code(load_callable(policy), user, name, threads=threads))


def _give_up(policy: str, why: object) -> Unavailable:
    logger.error("a policy could not be asked: %s", why, extra={"policy": policy})
    return Unavailable("rights cannot be checked now; try again in a moment")
