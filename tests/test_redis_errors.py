"""What an error of Redis means, and what is said about it."""

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from realtime.core.errors import Refused, Unavailable
from realtime.redis_errors import find_refusal, quote


@pytest.mark.parametrize(
    ("error", "reason", "word"),
    [
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "memory", "OOM"),
        (ReadOnlyError("You can't write against a read only replica."), "read-only", "READONLY"),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), "replicas", "NOREPLICAS"),
        (ResponseError("MISCONF Errors writing to the AOF file"), "disk", "MISCONF"),
        (ResponseError("BUSY Redis is busy running a script."), "busy", "BUSY"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "reading", "LOADING"),
        (MasterDownError("Link with MASTER is down"), "primary", "MASTERDOWN"),
        (AuthenticationError("Authentication required."), "sign in", "NOAUTH"),
        (ResponseError("WRONGPASS invalid username-password pair"), "sign in", "WRONGPASS"),
        (MovedError("7 127.0.0.1:7000"), "Cluster", "MOVED"),
        (ClusterDownError("Hash slot not served"), "Cluster", "CLUSTERDOWN"),
        (
            ResponseError(
                "ERR Error running script (call to f_2a): @user_script:16: @user_script: 16: "
                "-OOM command not allowed when used memory > 'maxmemory'."
            ),
            "memory",
            "OOM",
        ),
    ],
)
def test_a_refusal_is_known_by_its_word_and_quoted_with_it(
    error: Exception, reason: str, word: str
) -> None:
    refusal = find_refusal(error)
    assert refusal is not None
    assert reason in refusal.reason
    assert refusal.is_certain
    assert refusal.is_misfit == ("Cluster" in reason)
    assert word in quote(error)
    assert str(error) in quote(error)


@pytest.mark.parametrize(
    "error",
    [
        NoPermissionError("User realtime has no permissions to run the 'xadd' command"),
        ResponseError("ACL failure in script: No permissions to access a channel"),
    ],
)
def test_a_missing_right_leaves_open_how_far_a_script_came(error: Exception) -> None:
    refusal = find_refusal(error)
    assert refusal is not None
    assert not refusal.is_certain
    assert quote(error) == f"NOPERM {error}"


@pytest.mark.parametrize(
    "error",
    [ConnectionError("Connection refused"), TimeoutError(), ResponseError("ERR syntax error")],
)
def test_no_answer_and_other_answers_are_no_refusal(error: Exception) -> None:
    assert find_refusal(error) is None


def test_an_error_of_ours_is_quoted_by_its_cause_and_nothing_is_quoted_empty() -> None:
    refused = Refused("it was not published")
    refused.__cause__ = ReadOnlyError("no")
    assert quote(refused) == "READONLY no"
    assert quote(Unavailable("by itself")) == "by itself"
    assert quote(TimeoutError()) == "TimeoutError"


def test_what_clients_are_told_says_nothing_of_the_inside() -> None:
    for error in (
        AuthenticationError("user 'realtime' at 10.0.0.7"),
        MovedError("7 10.0.0.7:7000"),
        NoPermissionError("User realtime has no permissions to access 'rt-1.0:{broadcast:a}:log'"),
    ):
        refusal = find_refusal(error)
        assert refusal is not None
        for secret in ("10.0.0.7", "realtime", "rt-1", "'"):
            assert secret not in refusal.reason
