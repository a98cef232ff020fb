"""What is written down about a session: in the log, in its row, in the metrics."""

import logging
import time

from realtime.core.close_codes import CloseCode
from realtime.metrics import SESSIONS, SESSIONS_ENDED, SLOW_SESSIONS
from realtime.runtime import Runtime
from realtime.sessions import Session

logger = logging.getLogger("realtime.sessions")


# No coroutines: logging looks at the frame of its caller, which a session would then keep.


def note_begin(runtime: Runtime, session: Session) -> None:
    """It is signed in, within its limits, and on its topic."""
    session.began = time.time()
    session.has_begun = True
    runtime.recorder.note(session)
    SESSIONS.labels(_name_family(runtime, session)).inc()
    logger.info("session opened", extra=session.describe())


def note_slow(runtime: Runtime, session: Session) -> None:
    """It reads too slowly, and ends for that."""
    SLOW_SESSIONS.labels(_name_family(runtime, session)).inc()
    logger.warning("a session is too slow", extra=session.describe())


def note_end(runtime: Runtime, session: Session, code: int) -> None:
    """It has ended."""
    session.ended = time.time()
    session.close_code = code
    family = _name_family(runtime, session)
    if session.has_begun:
        runtime.recorder.note(session)
        SESSIONS.labels(family).dec()
    SESSIONS_ENDED.labels(family, _name_code(code)).inc()
    logger.info(
        "session closed" if session.has_begun else "session refused",
        extra={
            **session.describe(),
            "seconds": round(session.ended - session.began, 3),
            "messages_in": session.messages_in,
            "bytes_in": session.bytes_in,
            "messages_out": session.messages_out,
            "bytes_out": session.bytes_out,
            "code": int(code),
        },
    )


def _name_family(runtime: Runtime, session: Session) -> str:
    """The namespace, or `echo`; whatever else a client asked for is one."""
    name = session.topic.partition(":")[0]
    is_known = name == "echo" or runtime.settings.get_namespace(name) is not None
    return name if is_known else "unknown"


def _name_code(code: int) -> str:
    """The close code; those that a client can make up are one, for each would be a series."""
    return str(int(code)) if code in _KNOWN_CODES else "other"


_KNOWN_CODES = frozenset(CloseCode)
