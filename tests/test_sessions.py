"""The registry of a process: who is ended by a disconnect, also by one that came a moment early."""

import time
from types import SimpleNamespace

from realtime.core.close_codes import CloseCode
from realtime.core.identity import Identity
from realtime.sessions import Session, Sessions, Target


class Ended:
    """A session, and the codes that it was told to end with."""

    def __init__(self, *, sid: str = "sign-in", began: float | None = None) -> None:
        self.codes: list[CloseCode] = []
        self.session = Session(
            topic="broadcast:lobby",
            address="127.0.0.1",
            user_agent="",
            close=lambda code, reason: self.codes.append(code),
            identity=Identity(SimpleNamespace(pk=7), sid, time.time() + 60),
            handshake_began=time.monotonic() if began is None else began,
        )


def test_a_disconnect_ends_those_that_it_means_and_no_others() -> None:
    sessions, one, other = Sessions(), Ended(), Ended(sid="another")
    sessions.add(one.session)
    sessions.add(other.session)
    assert sessions.disconnect(Target(sid="sign-in"), CloseCode.REVOKED) == 1
    assert (one.codes, other.codes) == ([CloseCode.REVOKED], [])
    assert sessions.disconnect(Target(user="7"), CloseCode.DISCONNECTED) == 2


def test_a_disconnect_during_the_handshake_ends_the_session_when_it_begins() -> None:
    sessions, late = Sessions(), Ended()
    sessions.disconnect(Target(sid="sign-in"), CloseCode.REVOKED)
    sessions.add(late.session)
    assert late.codes == [CloseCode.REVOKED]
    later = Ended()
    sessions.add(later.session)
    assert later.codes == []


def test_a_disconnect_while_a_new_token_was_looked_up_counts_for_the_new_sign_in() -> None:
    sessions, one = Sessions(), Ended(sid="old")
    sessions.add(one.session)
    began = time.monotonic()
    sessions.disconnect(Target(sid="new"), CloseCode.REVOKED)
    one.session.identity = Identity(SimpleNamespace(pk=7), "new", time.time() + 60)
    sessions.check(one.session, since=began)
    assert one.codes == [CloseCode.REVOKED]
