"""Whether those who are connected may still be: after each change that is heard of, and by a sweep.

The sweep is for what nobody hears of: a message that was lost, `QuerySet.update()`, a policy
that depends on more than users and permissions.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import Error as DatabaseFault
from django.db import close_old_connections
from django.utils.module_loading import import_string

from realtime.conf import Settings
from realtime.core.close_codes import CloseCode
from realtime.core.identity import Identity
from realtime.django_sessions import is_session_of, load_sessions
from realtime.sessions import RECENT_SECONDS, Session, Sessions

logger = logging.getLogger("realtime.sessions")

Loader = Callable[[Sequence[Identity]], Sequence[Identity | None]]

# Identities that are read together, by one query.
PAGE_SIZE = 5000
# Sessions of a namespace whose policies are asked at the same time, in one look.
TOGETHER = 20
# Sessions that are ended in one turn of the loop.
ENDED_AT_ONCE = 100
# How long a policy may take to answer.
ANSWER_SECONDS = 10.0
# Changes that come together are dealt with together.
GATHER_SECONDS = 0.05
# What was asked lately also concerns sessions whose handshake was under way then.
MAX_RECENT = 10_000

EVERYBODY = None
Users = frozenset[str] | None


class Rechecks:
    """Ends sessions of this process whose user, sign-in or rights are gone."""

    def __init__(self, *, settings: Settings, sessions: Sessions) -> None:
        self._sessions = sessions
        self._seconds = settings.recheck_seconds
        self._load = find_loader(settings)
        self._wanted: set[str] = set()
        self._asked = asyncio.Event()
        self._everybody_asked = asyncio.Event()
        self._looks = 0
        self._busy: set[str] = set()  # namespaces that a look at everybody is at
        self._was_busy = False  # a later one has passed over such a namespace
        self._recent: deque[tuple[float, Users]] = deque(maxlen=MAX_RECENT)

    def ask(self, users: Iterable[str] | None) -> None:
        """Look soon at the sessions of these users (keys, as text), or of everybody (None)."""
        chosen = EVERYBODY if users is None else frozenset(users)
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - RECENT_SECONDS:
            self._recent.popleft()
        self._recent.append((now, chosen))
        self._want(chosen)

    def check_new(self, session: Session) -> None:
        """A session has begun: what was asked during its handshake may concern it."""
        user = session.user_id
        if user is not None and any(
            moment >= session.handshake_began and (users is EVERYBODY or user in users)
            for moment, users in self._recent
        ):
            self._want(frozenset({user}))

    async def run_forever(self) -> None:
        """Do what was asked, and look at everybody once in a while, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep_forever(group))
                while True:
                    await self._asked.wait()
                    await asyncio.sleep(GATHER_SECONDS)
                    users = frozenset(self._wanted)
                    self._wanted.clear()
                    self._asked.clear()
                    # Beside others: a look at everybody takes long, and a policy may never answer.
                    group.create_task(self._look(users))
        finally:
            # The looks that were under way ended with it. Should this run again, it begins anew.
            self._everybody_asked.set()

    async def recheck(self, users: Collection[str] | None) -> None:
        """Look at the sessions of these users, or of everybody, now."""
        self._looks += 1
        look = self._looks
        chosen = [
            session
            for session in self._sessions
            if session.identity is not None and (users is None or session.user_id in users)
        ]
        # One read for all sessions of a sign-in, which often have one token as well.
        identities = list(
            {_find_key(session.identity): session.identity for session in chosen}.values()
        )
        for start in range(0, len(identities), PAGE_SIZE):
            page = identities[start : start + PAGE_SIZE]
            try:
                found = await sync_to_async(_read, thread_sensitive=False)(self._load, page)
                fresh = dict(zip(map(_find_key, page), found, strict=True))
            except DatabaseFault as error:
                logger.error("sessions could not be checked now: %s", error)
                return
            except Exception:
                # The project's own loader, which the next look asks again.
                logger.exception("sessions could not be checked")
                continue
            answers = {key: answer for key, answer in fresh.items() if _is_answer(answer)}
            if len(answers) < len(fresh):
                logger.error(
                    "sessions could not be checked: the loader gave something else than an "
                    "Identity with a user, or None, for %d of %d",
                    len(fresh) - len(answers),
                    len(fresh),
                )
            await self._apply(chosen, answers, look, is_sweep=users is EVERYBODY)

    async def _look(self, users: Users) -> None:
        """One look among others: where it fails they go on, and the next sweep looks again."""
        try:
            await self.recheck(users)
        except Exception:
            logger.exception("sessions could not be checked")

    async def _apply(
        self,
        sessions: list[Session],
        fresh: dict[Any, Identity | None],
        look: int,
        *,
        is_sweep: bool,
    ) -> None:
        # Who is gone first: what policies say about the others may take long.
        ended = 0
        found: dict[str, list[tuple[Session, Identity]]] = {}
        for session in sessions:
            key = _find_key(session.identity)
            # Those of another page, with a new token since, or whom a later look has found.
            if key not in fresh or session.look > look:
                continue
            identity = fresh[key]
            if identity is None:
                session.look = look
                session.close(CloseCode.REVOKED, "revoked")
                ended += 1
                if ended % ENDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                continue
            namespace = session.topic.partition(":")[0]
            if is_sweep and namespace in self._busy:
                self._was_busy = True
                continue
            session.look = look
            found.setdefault(namespace, []).append((session, identity))
        async with asyncio.TaskGroup() as group:
            for namespace, pairs in found.items():
                group.create_task(self._ask_policies(namespace, pairs, look, is_sweep=is_sweep))

    async def _ask_policies(
        self, namespace: str, pairs: list[tuple[Session, Identity]], look: int, *, is_sweep: bool
    ) -> None:
        """Each namespace by itself: a policy that never answers holds up no other one."""
        places = asyncio.Semaphore(TOGETHER)
        if is_sweep:
            self._busy.add(namespace)
        try:
            async with asyncio.TaskGroup() as group:
                for session, identity in pairs:
                    await places.acquire()
                    if session.look != look or _find_key(session.identity) != _find_key(identity):
                        places.release()  # overtaken, while it waited here
                        continue
                    task = group.create_task(self._look_again(session, identity))
                    task.add_done_callback(lambda _: places.release())
        finally:
            if is_sweep:
                self._busy.discard(namespace)
                if self._was_busy:
                    self._was_busy = False
                    self._everybody_asked.set()

    async def _look_again(self, session: Session, identity: Identity) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await session.recheck(identity)
        except Exception:
            # The project's own policy, or the database: no reason to end a session, nor to
            # leave the others unchecked.
            logger.exception("a session could not be checked", extra=session.describe())

    async def _sweep_forever(self, group: asyncio.TaskGroup) -> None:
        while True:
            # Not all instances at the same moment.
            seconds = self._seconds * random.uniform(0.8, 1)  # noqa: S311 (no secret)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._everybody_asked.wait()
                await asyncio.sleep(GATHER_SECONDS)
            self._everybody_asked.clear()
            look = group.create_task(self._look(EVERYBODY))
            # One that takes longer goes on beside the next.
            await asyncio.wait({look}, timeout=min(self._seconds, ANSWER_SECONDS))

    def _want(self, users: Users) -> None:
        if users is EVERYBODY:
            self._everybody_asked.set()
        else:
            self._wanted |= users
            self._asked.set()


def reload_users(identities: Sequence[Identity]) -> list[Identity | None]:
    """The default loader: users who exist and are active, by one query.

    An identity that rests on a Django session ends with that, too.
    """
    users = get_user_model()._default_manager.in_bulk({identity.user.pk for identity in identities})
    keys = {identity.session_key for identity in identities if identity.session_key is not None}
    sessions = load_sessions(keys) if keys else {}
    return [_renew(identity, users.get(identity.user.pk), sessions) for identity in identities]


def _renew(
    identity: Identity, user: Any, sessions: Mapping[str, Mapping[str, Any]]
) -> Identity | None:
    if user is None or not user.is_active:
        return None
    if identity.session_key is not None and not is_session_of(
        user, sessions.get(identity.session_key, {})
    ):
        return None
    return replace(identity, user=user)


def find_loader(settings: Settings) -> Loader:
    if not settings.identity_loader:
        return reload_users
    loader: Loader = import_string(settings.identity_loader)
    return loader


def _find_key(identity: Identity | None) -> Any:
    return None if identity is None else (identity.user.pk, identity.sid, identity.expires_at)


def _is_answer(answer: Any) -> bool:
    return answer is None or (isinstance(answer, Identity) and hasattr(answer.user, "pk"))


def _read(load: Loader, identities: Sequence[Identity]) -> Sequence[Identity | None]:
    close_old_connections()
    try:
        return load(identities)
    finally:
        close_old_connections()
