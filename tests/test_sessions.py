"""The registry of a process: who is ended by a disconnect, also by one that came a moment early."""

import gc
import time
import weakref
from types import SimpleNamespace

from realtime.core.close_codes import CloseCode
from realtime.sessions import Sessions, Target
from tests.sessions import StubSession, build_identity


def open_session(*, sid: str = "sign-in", began: float | None = None) -> StubSession:
    """A session of the user 7."""
    return StubSession(
        identity=build_identity(7, sid=sid),
        handshake_began=time.monotonic() if began is None else began,
    )


def test_a_disconnect_ends_those_that_it_means_and_no_others() -> None:
    sessions, one, other = Sessions(), open_session(), open_session(sid="another")
    sessions.add(one.session)
    sessions.add(other.session)
    assert sessions.disconnect(Target(sid="sign-in"), CloseCode.REVOKED) == 1
    assert (one.codes, other.codes) == ([CloseCode.REVOKED], [])
    assert sessions.disconnect(Target(user="7"), CloseCode.DISCONNECTED) == 2


def test_a_disconnect_during_the_handshake_ends_the_session_when_it_begins() -> None:
    sessions, late = Sessions(), open_session()
    sessions.disconnect(Target(sid="sign-in"), CloseCode.REVOKED)
    sessions.add(late.session)
    assert late.codes == [CloseCode.REVOKED]
    later = open_session()
    sessions.add(later.session)
    assert later.codes == []


def test_a_disconnect_while_a_new_token_was_looked_up_counts_for_the_new_sign_in() -> None:
    sessions, one = Sessions(), open_session(sid="old")
    sessions.add(one.session)
    began = time.monotonic()
    sessions.disconnect(Target(sid="new"), CloseCode.REVOKED)
    one.session.identity = build_identity(7, sid="new")
    sessions.check(one.session, since=began)
    assert one.codes == [CloseCode.REVOKED]


def test_a_session_that_has_ended_keeps_its_counts_and_nothing_of_its_connection() -> None:
    stub = open_session()
    session, connection = stub.session, weakref.ref(stub)
    session.outbox = SimpleNamespace(messages=3, bytes=30, skipped=1, waiting=0)
    session.let_go()
    del stub
    gc.collect()
    assert connection() is None
    assert (session.messages_out, session.bytes_out, session.skipped) == (3, 30, 1)
    session.close(CloseCode.REVOKED, "too late")


def test_messages_of_ended_sessions_still_count() -> None:
    sessions, one, other = Sessions(), open_session(), open_session()
    for stub in (one, other):
        sessions.add(stub.session)
        stub.session.messages_in, stub.session.messages_out = 3, 5
    sessions.remove(one.session)
    assert sessions.count_messages() == (6, 10)


def test_a_session_tells_whether_it_has_moved_since_it_was_asked() -> None:
    session = open_session().session
    assert not session.has_moved()
    session.outbox = SimpleNamespace(messages=2, bytes=20, skipped=1, waiting=7)
    assert session.has_moved()
    assert (session.messages_out, session.bytes_out) == (2, 20)
    assert (session.skipped, session.waiting_bytes) == (1, 7)
    assert not session.has_moved()
    session.errors += 1
    assert session.has_moved()
