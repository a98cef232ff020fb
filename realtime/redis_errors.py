"""What an error of Redis means: what clients may be told about it, and what the log is."""

from dataclasses import dataclass

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)

from realtime.core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why Redis does not do what it is asked for.

    `reason` is a part of a sentence that tells a client nothing about the inside. `is_certain`:
    nothing was done, not even in part, since Redis looks at it before the first write of a script.
    `is_misfit`: no
    server of this kind can ever do it.
    """

    reason: str
    is_certain: bool = True
    is_misfit: bool = False


_CLUSTER = Refusal("the store is a Redis Cluster, which is not supported", is_misfit=True)
_SIGN_IN = Refusal("the store does not let the server sign in")

# By the first word of what Redis answers.
_REFUSALS = {
    "OOM": Refusal("the store is out of memory"),
    "READONLY": Refusal("the store is read-only now"),
    "NOREPLICAS": Refusal("the store has too few replicas to take a write"),
    "MISCONF": Refusal("the store cannot write to its disk"),
    "LOADING": Refusal("the store is still reading its data"),
    "MASTERDOWN": Refusal("the store has lost its primary"),
    "BUSY": Refusal("the store is busy"),
    # A script may have done a part before it came to what it must not do.
    "NOPERM": Refusal("the store does not permit it to the server", is_certain=False),
    "NOAUTH": _SIGN_IN,
    "WRONGPASS": _SIGN_IN,
    **dict.fromkeys(("MOVED", "ASK", "CLUSTERDOWN", "CROSSSLOT", "TRYAGAIN"), _CLUSTER),
}
# redis-py makes classes of some of these words, and takes the word off the text.
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
    (NoPermissionError, "NOPERM"),
    (BusyLoadingError, "LOADING"),
    (MasterDownError, "MASTERDOWN"),  # a kind of the next one
    (ClusterDownError, "CLUSTERDOWN"),
    (MovedError, "MOVED"),
    (AuthenticationError, "NOAUTH"),
)


def find_refusal(error: BaseException) -> Refusal | None:
    """What the answer of Redis means, or None where it did not answer, or something else."""
    return _REFUSALS.get(_find_word(error))


def quote(error: BaseException) -> str:
    """What Redis said, for the log: its own words, with the code in front.

    Of one of our own errors, what caused it.
    """
    if isinstance(error, Unavailable) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error) or type(error).__name__
    word = _find_word(error)
    return text if not word or word in text else f"{word} {text}"


def _find_word(error: BaseException) -> str:
    for kind, word in _WORDS:
        if isinstance(error, kind):
            return word
    if "ACL failure in script" in str(error):
        return "NOPERM"
    # Before Redis 7 an error in a script is quoted behind "ERR Error running script (…): …".
    for part in str(error).split():
        if part.strip("-:") in _REFUSALS:
            return part.strip("-:")
    return ""
