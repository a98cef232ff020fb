"""The façade without await, from a script's and from a notebook's point of view."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from realtime_client import ConnectionEnded, Gap, Position, State, UnknownOutcome, sync

Url = Callable[[str], str]


def test_a_script_publishes_reads_and_goes_on_later(url: Url, client_token: str) -> None:
    with sync.connect(url("broadcast"), token=client_token) as stream:
        assert stream.state is State.LIVE
        assert [stream.publish(n).offset for n in range(3)] == [1, 2, 3]
        message = next(stream)
        assert message.data == 0  # type: ignore[union-attr]
        position = stream.position
        assert stream.history(after=2).top == 3
        assert stream.ping() > 0
    assert stream.state is State.CLOSED
    with sync.connect(url("broadcast"), token=client_token, position=position) as stream:
        assert [next(stream).data for _ in range(2)] == [1, 2]  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            stream.receive(timeout=0.05)


def test_arrays_and_samples_work_too(url: Url, client_token: str) -> None:
    with sync.connect(url("arrays"), token=client_token) as stream:
        assert stream.request((2, 3)).shape == (2, 3)
        stream.publish_array(np.arange(3))
        message = stream.receive()
        assert message.array.tolist() == [0, 1, 2]  # type: ignore[union-attr]
    with sync.connect(url("stats"), token=client_token, window=2) as stream:
        stream.publish_samples([1, 2, 3])
        assert stream.receive().mean == 2.5  # type: ignore[union-attr]


async def test_it_works_where_a_loop_runs_already(url: Url, client_token: str) -> None:
    """As in a notebook."""
    with sync.connect(url("broadcast"), token=client_token) as stream:
        assert stream.publish("from a notebook").offset == 1


def test_what_ends_the_stream_is_raised_and_no_thread_stays(url: Url) -> None:
    with pytest.raises(ConnectionEnded) as ended, sync.connect(url("broadcast"), token="no"):
        raise AssertionError("not reached")
    assert ended.value.code == 4502
    assert "realtime_client" not in [thread.name for thread in threading.enumerate()]
    stream = sync.connect(url("broadcast"))
    with pytest.raises(RuntimeError, match="open the stream first"):
        stream.publish(1)
    stream.close()


def test_iterating_ends_where_another_thread_closes_the_stream(url: Url, client_token: str) -> None:
    position = Position("0123456789ab", 0)
    with sync.connect(url("broadcast"), token=client_token, position=position) as stream:
        seen = []
        for message in stream:
            seen.append(message)
            threading.Timer(0.1, stream.close).start()
        assert [type(message) for message in seen] == [Gap]


def test_many_threads_may_use_and_close_one_stream(url: Url, client_token: str) -> None:
    def work() -> None:
        for n in range(50):
            stream.publish(n)

    with ThreadPoolExecutor() as executor:
        with sync.connect(url("broadcast"), token=client_token, subscribe=False) as stream:
            working = [executor.submit(work) for _ in range(4)]
            executor.submit(stream.close)
        ends = [future.exception(timeout=60) for future in working]
    assert all(isinstance(end, (ConnectionEnded, UnknownOutcome, type(None))) for end in ends), ends
    with pytest.raises(ConnectionEnded):
        stream.publish("too late")
