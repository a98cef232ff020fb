"""Identities that rest on a session of Django's, without a server."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection

from accounts.models import User
from realtime import Identity
from realtime.django_sessions import (
    is_session_of,
    load_sessions,
    name_session,
    rest_on_session,
)
from realtime.rechecks import reload_users

BACKEND = "django.contrib.auth.backends.ModelBackend"
ENGINES = ("db", "cached_db", "cache", "file", "signed_cookies")


def open_session(user: User | None) -> Any:
    """A session of the project's engine, in which that user is signed in."""
    session = import_module(django_settings.SESSION_ENGINE).SessionStore()
    if user is not None:
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = BACKEND
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return session


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, settings: Any, tmp_path: Any, db: None) -> str:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    name: str = request.param
    return name


def test_every_engine_tells_which_sessions_are_there(engine: str) -> None:
    anna = User.objects.create_user("anna", password="x")
    kept, flushed = open_session(anna), open_session(anna)
    keys = [kept.session_key, flushed.session_key]
    if engine != "signed_cookies":  # of which the server keeps nothing
        flushed.flush()
    found = load_sessions([*keys, "0" * 32])
    assert found[kept.session_key][SESSION_KEY] == str(anna.pk)
    assert ("0" * 32) not in found
    assert (keys[1] in found) is (engine == "signed_cookies")


async def test_an_identity_rests_on_the_session_of_its_user_and_on_no_other(
    transactional_db: None,
) -> None:
    anna = await User.objects.acreate(username="anna")
    ben = await User.objects.acreate(username="ben")

    session = await sync_to_async(open_session)(anna)
    key = session.session_key
    for sid in (None, key):
        identity = await rest_on_session(Identity(anna, sid), session)
        assert (identity.session_key, identity.sid) == (key, name_session(key))
        assert key not in repr(identity)
        assert key not in str(identity.sid)
    for identity in (Identity(anna, "of a token"), Identity(ben), Identity(anna, None, None, "k")):
        assert await rest_on_session(identity, session) is identity
    empty = SimpleNamespace(session_key=None)
    anonymous = await sync_to_async(open_session)(None)
    for other in (empty, anonymous):
        assert (await rest_on_session(Identity(anna), other)).session_key is None


def test_a_session_is_over_with_its_password_its_backend_and_its_user(
    db: None, settings: Any
) -> None:
    anna = User.objects.create_user("anna", password="x")
    data = dict(open_session(anna).items())
    assert is_session_of(anna, data)
    old_key = settings.SECRET_KEY
    settings.SECRET_KEY = "another key" * 5
    assert not is_session_of(anna, data)
    settings.SECRET_KEY_FALLBACKS = [old_key]
    assert is_session_of(anna, data)
    assert not is_session_of(User.objects.create_user("ben"), data)
    assert not is_session_of(anna, {**data, BACKEND_SESSION_KEY: "gone.Backend"})
    anna.set_password("y")
    assert not is_session_of(anna, data)
    assert not is_session_of(anna, {})


def test_many_sessions_are_read_together(db: None, django_assert_num_queries: Any) -> None:
    anna = User.objects.create_user("anna", password="x")
    keys = [open_session(anna).session_key for _ in range(20)]
    identities = [Identity(anna, name_session(key), None, key) for key in keys]
    open_session(anna)
    with django_assert_num_queries(2):
        found = reload_users([*identities, Identity(anna, "s", None, "no such key")])
    assert [one is not None for one in found] == [True] * 20 + [False]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session")
    assert reload_users(identities) == [None] * 20


def test_a_cache_that_does_not_answer_is_an_error_and_no_end_of_sessions(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    anna = User.objects.create_user("anna", password="x")
    key = open_session(anna).session_key

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no cache")

    monkeypatch.setattr(LocMemCache, "get", fail)
    with pytest.raises(ConnectionError):
        reload_users([Identity(anna, name_session(key), None, key)])
