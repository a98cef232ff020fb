"""Identities that rest on a session of Django's, and when such a session is over.

A handshake that came through Channels' `AuthMiddlewareStack` has the session in its scope. An
identity of that session's user ends with it: at sign-out, when the session is flushed, deleted or
has expired, or when its hash no longer is that of the user's password.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends import cache as cache_backend
from django.contrib.sessions.backends import db as database_backend
from django.core.cache import caches
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from realtime.core.identity import Identity

# Sessions that are read by one query.
BATCH_SIZE = 500


def name_session(key: str) -> str:
    """The `sid` of a session: the key is a credential, and a sid stands in logs and messages."""
    return f"session-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


async def rest_on_session(identity: Identity, session: Any) -> Identity:
    """The identity, resting on the Django session of its handshake where that is its source.

    It is, where the session's user is that of the identity, and the identity names no sign-in, or
    the session's key for one.
    """
    key = session.session_key
    if not key or identity.session_key is not None or identity.sid not in (None, key):
        return identity
    if await session.aget(SESSION_KEY) != _write_key(identity.user):
        return identity
    return replace(identity, sid=name_session(key), session_key=key)


def load_sessions(keys: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """What each session holds that is there and has not expired. A store that fails raises."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    if issubclass(store, database_backend.SessionStore):  # also with a cache before it
        return _read_database(store, list(keys))
    if issubclass(store, cache_backend.SessionStore):
        prefix = store.cache_key_prefix
        # Not `store.load()`, which takes a cache that does not answer for one that is empty.
        cache = caches[settings.SESSION_CACHE_ALIAS]
        found = cache.get_many([prefix + key for key in keys])
        return {name.removeprefix(prefix): data for name, data in found.items()}
    return {key: data for key in keys if (data := store(key).load())}


def is_session_of(user: Any, data: Mapping[str, Any]) -> bool:
    """Whether a session is one in which this user is signed in, with today's password."""
    if data.get(SESSION_KEY) != _write_key(user):
        return False
    if data.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return False
    if not hasattr(user, "get_session_auth_hash"):
        return True
    noted = data.get(HASH_SESSION_KEY) or ""
    hashes = [user.get_session_auth_hash()]
    if hasattr(user, "get_session_auth_fallback_hash"):  # of keys in SECRET_KEY_FALLBACKS
        hashes += user.get_session_auth_fallback_hash()
    return any(constant_time_compare(noted, each) for each in hashes)


def _read_database(store: Any, keys: list[str]) -> dict[str, Mapping[str, Any]]:
    model = store.get_model_class()
    decode = store().decode
    sessions: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(keys), BATCH_SIZE):
        rows = model.objects.filter(
            session_key__in=keys[start : start + BATCH_SIZE], expire_date__gt=timezone.now()
        )
        for key, text in rows.values_list("session_key", "session_data"):
            sessions[key] = decode(text)
    return sessions


def _write_key(user: Any) -> str:
    """A user's primary key as `login()` writes it into the session."""
    return str(user._meta.pk.value_to_string(user))
