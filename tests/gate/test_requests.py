"""What goes through the gate before Django, and what is refused there."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from realtime.gate.requests import RequestGate
from realtime.limits.kinds import Limit
from realtime.metrics import LIMITED

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def build(settings: Any) -> Callable[..., RequestGate]:
    def build(app: Any, *, lanes: Any = None, **options: Any) -> RequestGate:
        settings.REALTIME = {**settings.REALTIME, **options}
        return RequestGate(app, lanes=lanes)

    return build


class Exchange:
    """A request on its way: it can go away, and it has an answer in the end."""

    def __init__(self, gate: Any, path: str = "/x/", *, address: str = "192.0.2.1", **scope: Any):
        self.sent: list[Any] = []
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        whole = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [],
            "client": (address, 1),
            **scope,
        }
        self.task = asyncio.create_task(gate(whole, self.events.get, self._send))

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    def finish_body(self, body: bytes = b"") -> "Exchange":
        self.events.put_nowait({"type": "http.request", "body": body, "more_body": False})
        return self

    def go_away(self) -> None:
        self.events.put_nowait({"type": "http.disconnect"})

    async def answer(self) -> Answer:
        await asyncio.wait_for(self.task, 30)
        start, *rest = self.sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], headers, b"".join(part.get("body", b"") for part in rest)


class Application:
    """What Django does with a request: read it, work in its thread, answer."""

    def __init__(self) -> None:
        self.doors: dict[str, threading.Event] = {}
        self.threads: set[str] = set()
        self.running = self.most = 0
        self.lock = threading.Lock()

    def work(self, path: str) -> None:
        with self.lock:
            self.threads.add(threading.current_thread().name)
            self.running += 1
            self.most = max(self.most, self.running)
        door = self.doors.get(path)
        assert door is None or door.wait(30)
        with self.lock:
            self.running -= 1

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            if not message["more_body"]:
                break
        else:
            return
        await sync_to_async(self.work)(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def app() -> Iterator[Application]:
    made = Application()
    yield made
    for door in made.doors.values():
        door.set()


async def settle(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def count(limit: Limit) -> float:
    return LIMITED.labels(limit)._value.get()  # type: ignore[attr-defined,no-any-return]


async def test_requests_run_in_a_few_threads_however_many_come(
    build: Callable[..., RequestGate], app: Application
) -> None:
    gate = build(app, REQUESTS_PER_SECOND=0, REQUEST_THREADS=4)
    answers = [
        Exchange(gate, address=f"192.0.2.{number % 50}").finish_body().answer()
        for number in range(200)
    ]
    assert {status for status, _, _ in await asyncio.gather(*answers)} == {200}
    assert app.most <= 4
    assert len(app.threads) <= 4


async def test_a_body_that_is_on_its_way_takes_no_thread(
    build: Callable[..., RequestGate], app: Application
) -> None:
    gate = build(app, REQUEST_THREADS=1)
    slow = [Exchange(gate) for _ in range(20)]
    for exchange in slow:
        exchange.events.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    assert (await Exchange(gate).finish_body().answer())[0] == 200
    for exchange in slow:
        exchange.finish_body()
        assert (await exchange.answer())[0] == 200


async def test_an_address_has_so_many_requests_a_second(
    build: Callable[..., RequestGate], app: Application
) -> None:
    gate = build(app, REQUESTS_PER_SECOND=2)
    before = count(Limit.REQUESTS)
    answers = [await Exchange(gate).finish_body().answer() for _ in range(6)]
    assert [status for status, _, _ in answers] == [200] * 4 + [429] * 2
    _, headers, body = answers[-1]
    assert json.loads(body) == {"code": "rate_limited", "detail": "at most 2 requests a second"}
    assert headers["retry-after"] == "1"
    assert headers["content-length"] == str(len(body))
    assert count(Limit.REQUESTS) == before + 2
    elsewhere = Exchange(gate, address="192.0.2.2").finish_body()
    assert (await elsewhere.answer())[0] == 200


async def test_who_is_one_too_many_in_the_queue_is_refused_at_once(
    build: Callable[..., RequestGate], app: Application
) -> None:
    app.doors["/x/"] = threading.Event()
    gate = build(app, REQUEST_THREADS=1, WAITING_REQUESTS=3, WAITING_REQUESTS_PER_ADDRESS=2)
    before = count(Limit.WAITING_REQUESTS)
    mine = [Exchange(gate).finish_body() for _ in range(3)]
    await settle(lambda: app.running == 1)
    status, headers, body = await Exchange(gate).answer()  # before its body is read
    assert (status, json.loads(body)["code"], headers["retry-after"]) == (429, "rate_limited", "1")
    others = Exchange(gate, address="192.0.2.2").finish_body()
    await settle(lambda: gate._requests._waiting_count == 3)
    status, _, body = await Exchange(gate, address="192.0.2.3").finish_body().answer()
    assert (status, json.loads(body)["code"]) == (503, "unavailable")
    assert count(Limit.WAITING_REQUESTS) == before + 2
    app.doors["/x/"].set()
    for exchange in (*mine, others):
        assert (await exchange.answer())[0] == 200


async def test_nobody_waits_for_longer_than_it_says(
    build: Callable[..., RequestGate], app: Application
) -> None:
    app.doors["/x/"] = threading.Event()
    gate = build(app, REQUEST_THREADS=1, REQUEST_WAIT_SECONDS=0.05)
    first, second = Exchange(gate).finish_body(), Exchange(gate).finish_body()
    status, headers, body = await second.answer()
    assert (status, json.loads(body)["code"]) == (503, "unavailable")
    assert headers["retry-after"] == "1"
    assert gate._requests._waiting_count == 0
    app.doors["/x/"].set()
    assert (await first.answer())[0] == 200


async def test_who_goes_away_leaves_the_queue_and_nothing_runs_for_it(
    build: Callable[..., RequestGate], app: Application
) -> None:
    app.doors["/x/"] = threading.Event()
    gate = build(app, REQUEST_THREADS=1)
    first, gone = Exchange(gate).finish_body(), Exchange(gate, "/gone/").finish_body()
    app.doors["/gone/"] = threading.Event()  # it would hold the thread for ever
    await settle(lambda: gate._requests._waiting_count == 1)
    gone.go_away()
    await asyncio.wait_for(gone.task, 30)
    assert gone.sent == []
    app.doors["/x/"].set()
    assert (await first.answer())[0] == 200
    assert (await Exchange(gate).finish_body().answer())[0] == 200


async def test_probes_and_sign_ins_do_not_wait_behind_others(
    build: Callable[..., RequestGate], app: Application
) -> None:
    app.doors["/x/"] = app.doors["/sign-in/"] = threading.Event()
    gate = build(app, lanes={"sign-ins": ["/sign-in/"]}, REQUEST_THREADS=1, REQUESTS_PER_SECOND=10)
    busy = [Exchange(gate).finish_body() for _ in range(3)]
    signing = [Exchange(gate, "/sign-in/", method="POST").finish_body() for _ in range(5)]
    await settle(lambda: app.running == 4)  # one, and three sign-ins of one address
    for _ in range(30):  # nor does the rate of their address hold for them
        assert (await Exchange(gate, "/livez").finish_body().answer())[0] == 200
    app.doors["/x/"].set()
    for exchange in (*busy, *signing):
        assert (await exchange.answer())[0] == 200


async def test_a_client_that_reads_slowly_holds_no_thread(
    build: Callable[..., RequestGate],
) -> None:
    taken = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await sync_to_async(int)()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/slow/":
            await taken.wait()
        await send({"type": "http.response.body", "body": b""})
        await sync_to_async(int)()  # as Django closes a response in the thread

    gate = build(app, REQUEST_THREADS=1)
    slow = [Exchange(gate, "/slow/").finish_body() for _ in range(5)]
    await settle(lambda: all(exchange.sent for exchange in slow))
    assert (await Exchange(gate).finish_body().answer())[0] == 200
    taken.set()
    for exchange in slow:
        assert (await exchange.answer())[0] == 200


@pytest.mark.parametrize("way", ["fails", "is cancelled"])
async def test_a_thread_comes_back_whatever_becomes_of_the_request(
    build: Callable[..., RequestGate], way: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/bad/":
            if way == "fails":
                raise ValueError("a bug")
            await asyncio.Event().wait()
        await sync_to_async(int)()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gate = build(app, REQUEST_THREADS=1)
    for _ in range(3):
        bad = Exchange(gate, "/bad/").finish_body()
        if way == "fails":
            with pytest.raises(ValueError, match="a bug"):
                await bad.task
        else:
            await asyncio.sleep(0.01)
            bad.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bad.task
        assert (await Exchange(gate).finish_body().answer())[0] == 200


async def test_what_is_no_request_goes_on(build: Callable[..., RequestGate]) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    nothing: Callable[..., Awaitable[Any]] = asyncio.Queue[Any]().get
    await build(app)({"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]
