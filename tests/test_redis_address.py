"""The address of Redis in every form, against real servers: TLS, a socket file, Sentinel."""

import asyncio
import signal
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, MaxConnectionsError, RedisError

from realtime.redis_address import (
    build_base,
    build_layer_host,
    is_same_redis,
    make_pool,
    parse_address,
    ping,
)
from tests.clients import Client, open_client
from tests.servers import Project, RedisServer, Server, find_free_port, find_valkey_server

PASSWORD = "a/b c@d"
QUOTED = "a%2Fb%20c%40d"
# A silent connection of the channel layer is replaced within this time, in seconds.
SILENCE_DEADLINE = 5.0
SENTINEL = "redis+sentinel://anna:pw@one:26380,two,[::1]:7/3?sentinel_master_name=main"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://localhost", {"host": "localhost"}),
        ("redis://h:6380/2", {"host": "h", "port": 6380, "db": 2}),
        (f"redis://u:{QUOTED}@h/0", {"host": "h", "db": 0, "username": "u", "password": PASSWORD}),
        (
            "rediss://h/0?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem",
            {"host": "h", "db": 0, "ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"},
        ),
        ("unix:///run/redis.sock?db=4", {"path": "/run/redis.sock", "db": 4}),
        ("redis://h?socket_timeout=1.5", {"host": "h", "socket_timeout": 1.5}),
    ],
)
def test_an_address_of_one_server_is_read_as_redis_py_reads_it(
    url: str, options: dict[str, Any]
) -> None:
    address = parse_address(url)
    assert (address.options, address.sentinels, address.url) == (options, (), url)
    assert address.is_secure == url.startswith("rediss")


def test_an_address_of_sentinels_names_them_the_master_and_both_passwords() -> None:
    address = parse_address(SENTINEL + f"&sentinel_user=s&sentinel_password={QUOTED}")
    assert address.sentinels == (("one", 26380), ("two", 26379), ("::1", 7))
    assert address.master_name == "main"
    assert address.options == {"username": "anna", "password": "pw", "db": 3}
    assert address.sentinel_options == {"username": "s", "password": PASSWORD}
    assert not address.is_secure
    secure = parse_address("rediss+sentinel://a/0?sentinel_master_name=m&ssl_cert_reqs=none")
    assert secure.is_secure
    assert secure.options == {"db": 0, "ssl_cert_reqs": "none"}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "scheme"),
        ("localhost:6379", "scheme"),
        ("https://h", "scheme"),
        ("redis:///0", "host"),
        ("redis://h:port/0", "port"),
        ("redis://h:99999/0", "port"),
        ("redis://h/first", "number of a database"),
        ("redis://h?db=first", "db"),
        ("redis://h?max_connections=3", "max_connections"),
        ("redis://h?retry_on_timeout=yes", "retry_on_timeout"),
        ("redis://h?ssl_cert_reqs=none", "rediss://"),
        ("redis://h?sentinel_master_name=main", "redis+sentinel://"),
        ("rediss://h?ssl_cert_reqs=perhaps", "perhaps"),
        ("rediss://h?ssl_colour=red", "ssl_colour"),
        ("unix://", "path"),
        ("redis+sentinel://h/0", "sentinel_master_name"),
        ("redis+sentinel://h,/0?sentinel_master_name=m", "host"),
        ("redis+sentinel://h:x,i/0?sentinel_master_name=m", "port"),
        ("redis+sentinel://h/first?sentinel_master_name=m", "database"),
    ],
)
def test_a_malformed_address_is_refused_with_what_is_wrong_and_the_right_form(
    url: str, reason: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"redis\+sentinel://host:26379") as caught:
        parse_address(url)
    assert reason in str(caught.value).partition("; write it as")[0]
    for use in (build_layer_host, lambda url: make_pool(url, blocking=True)):
        with pytest.raises(ImproperlyConfigured):
            use(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@h:x/0",
        "redis://u:hunter2/0",
        "redis://:hunter2#x@h/0",
        "redis://u:hunter2/2@h/0",
        "redis://u:x?hunter2@h/0",
        "redis+sentinel://u:hunter2@h:x/0?sentinel_master_name=m",
        "redis+sentinel://u:hunter2@h",
    ],
)
def test_no_error_quotes_a_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.__cause__)


def test_an_address_shown_shows_no_password() -> None:
    for url in ("redis://u:hunter2@h/0", SENTINEL.replace("pw", "hunter2")):
        assert "hunter2" not in repr(parse_address(url))


def test_the_layer_and_the_history_are_known_to_share_a_redis() -> None:
    for url in ("redis://h:1/0", "rediss://h", "unix:///r.sock", SENTINEL):
        assert is_same_redis(build_layer_host(url), url)
    assert is_same_redis({"address": "redis://h:1/0"}, "redis://h:1/0")
    by_hand = {"sentinels": [["::1", 7], ["one", 26380], ["two", 26379]], "master_name": "main"}
    assert is_same_redis({**by_hand, "db": 3, "username": "anna", "password": "pw"}, SENTINEL)
    assert not is_same_redis(by_hand, SENTINEL)  # database 0
    assert not is_same_redis({**by_hand, "db": 3, "master_name": "other"}, SENTINEL)
    assert not is_same_redis({**by_hand, "db": 3, "sentinels": [("one", 26380)]}, SENTINEL)
    assert not is_same_redis("redis://h:1/1", "redis://h:1/0")
    assert not is_same_redis(SENTINEL, "redis://h:1/0")
    assert not is_same_redis({"host": "h", "port": 1}, "redis://h:1/0")


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("redis://h", 0),
        ("redis://h:1/7", 7),
        ("redis://h?db=3", 3),
        ("unix:///r.sock?db=4", 4),
        (SENTINEL, 3),
    ],
)
def test_names_begin_with_the_prefix_and_the_number_of_the_database(url: str, number: int) -> None:
    assert build_base("rt-12ab", url) == f"rt-12ab.{number}"


@pytest.mark.parametrize("prefix", ["", "{a}", "a b", "a:b", "a*", "-a", "é", "a\n", "a" * 33])
def test_a_prefix_with_which_names_cannot_begin_is_refused(prefix: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"REALTIME_PREFIX.*1 to 32 of A-Z"):
        build_base(prefix, "redis://h")


# Real servers


@asynccontextmanager
async def open_pool(url: str, *, blocking: bool = True, **options: Any) -> AsyncIterator[Redis]:
    pool = make_pool(url, blocking=blocking, **options)
    try:
        yield Redis(connection_pool=pool)
    finally:
        await pool.aclose()


@asynccontextmanager
async def open_layer(url: str) -> AsyncIterator[tuple[Any, str]]:
    """A channel layer as the settings make it, and a channel of it that is in the group `g`."""
    layer = RedisPubSubChannelLayer(hosts=[build_layer_host(url)])
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    yield layer, channel
    (shard,) = layer._get_layer()._shards
    pool = shard._redis.connection_pool
    await layer.flush()
    if hasattr(pool, "sentinel_manager"):
        # The layer leaves its connections to the sentinels to the garbage collector.
        await pool.sentinel_manager.aclose()


@asynccontextmanager
async def end_tls(certificate: Path, port: int) -> AsyncIterator[int]:
    """A port that speaks TLS in front of one that does not; its connections have to end."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        async with asyncio.timeout(15):
            await asyncio.gather(*filter(None, serving))


async def test_over_tls_the_certificate_is_checked_against_the_given_authority(
    redis: RedisServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)  # other tests trust it everywhere
    async with end_tls(certificate, redis.port) as port:
        address = f"rediss://127.0.0.1:{port}/0"
        trusted = f"{address}?ssl_ca_certs={certificate}/certificate.pem"
        async with open_pool(trusted) as client:
            assert await client.ping()
        async with open_pool(f"{address}?ssl_cert_reqs=none") as client:
            assert await client.ping()
        with pytest.raises(ConnectionError, match="certificate"):
            await ping(address, within=15)
        async with open_layer(trusted) as (layer, channel):
            await layer.group_send("g", {"type": "x"})
            assert await asyncio.wait_for(layer.receive(channel), 15) == {"type": "x"}


async def test_a_socket_file_is_an_address(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "redis.sock"))
    server.start()
    ask = partial(ping, f"unix://{tmp_path}/redis.sock?db=1", within=15)
    try:
        await wait_until(ask, lambda _: True)  # the port was there before the file
    finally:
        server.kill()


class Cluster:
    """A master, a replica and a sentinel; the address names a dead sentinel first."""

    def __init__(self, folder: Path) -> None:
        options = ["--requirepass", "inner", "--masterauth", "inner"]
        options += ["--repl-diskless-sync-delay", "0"]
        self.master = RedisServer(folder, *options)
        follow = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.replica = RedisServer(folder, *options, *follow)
        self.port = find_free_port()
        self._dead_port = find_free_port()
        self._config = folder / "sentinel.conf"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return (
            f"redis+sentinel://:inner@127.0.0.1:{self._dead_port},127.0.0.1:{self.port}/1"
            "?sentinel_master_name=main&sentinel_password=outer"
        )

    def start(self) -> None:
        self.master.start()
        self.replica.start()
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\nrequirepass outer\n"
            f"sentinel monitor main 127.0.0.1 {self.master.port} 1\n"
            "sentinel auth-pass main inner\n"
            # Long: on a busy machine nobody is to be taken for dead who is not.
            "sentinel down-after-milliseconds main 60000\nsentinel failover-timeout main 2000\n"
        )
        self._process = subprocess.Popen(
            [str(find_valkey_server()), str(self._config), "--sentinel"],
            stdout=subprocess.DEVNULL,
        )

    async def wait_for_replica(self) -> None:
        """Until the sentinel knows the replica as one that could take over."""
        async with self._open_sentinel() as sentinel:
            await wait_until(
                lambda: sentinel.sentinel_slaves("main"),
                lambda replicas: [one["master-link-status"] for one in replicas] == ["ok"],
            )

    async def kill_master(self) -> None:
        """`kill -9`; the sentinel notices it soon."""
        async with self._open_sentinel() as sentinel:
            await sentinel.sentinel_set("main", "down-after-milliseconds", 300)
        self.master.kill()

    async def hang_master(self) -> None:
        """SIGSTOP: its connections stay open, and it answers none; the sentinel notices it soon."""
        async with self._open_sentinel() as sentinel:
            await sentinel.sentinel_set("main", "down-after-milliseconds", 300)
        self.master.signal(signal.SIGSTOP)

    async def wait_for_promotion(self) -> None:
        """Until the replica is the master."""
        async with Redis(port=self.replica.port, password="inner") as replica:
            await wait_until(
                lambda: replica.info("replication"), lambda told: told["role"] == "master"
            )

    async def count_behind(self) -> int:
        """How many bytes the replica has not confirmed."""
        async with Redis(port=self.master.port, password="inner") as master:
            told = await master.info("replication")
            return int(told["master_repl_offset"] - told["slave0"]["offset"])

    def _open_sentinel(self) -> Redis:
        return Redis(port=self.port, password="outer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.master.kill()
        self.replica.kill()


async def wait_until(
    ask: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool], seconds: float = 45
) -> Any:
    """Ask until the answer is right; a failing Redis is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(RedisError, OSError):
            if is_right(answer := await ask()):
                return answer
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


async def find_port(client: Redis) -> int:
    """The port of the server that takes a write, which a replica refuses."""
    await client.set("key", "value")
    return int((await client.info("server"))["tcp_port"])


async def test_pool_and_layer_follow_the_sentinel_to_a_new_master(cluster: Cluster) -> None:
    await cluster.wait_for_replica()
    bounded = open_pool(cluster.url, socket_timeout=1.0)
    plain = open_pool(cluster.url, blocking=False)
    async with bounded as one, plain as two, open_layer(cluster.url) as (layer, channel):
        for client in (one, two):
            assert await find_port(client) == cluster.master.port
        await cluster.kill_master()
        heard = asyncio.create_task(layer.receive(channel))

        async def send() -> bool:
            await layer.group_send("g", {"type": "x"})
            await asyncio.wait([heard], timeout=0.2)
            return heard.done()

        await wait_until(send, bool)
        assert heard.result() == {"type": "x"}
        for client in (one, two):
            await wait_until(partial(find_port, client), cluster.replica.port.__eq__)


async def test_a_bounded_pool_lets_callers_wait_and_the_other_one_refuses(
    cluster: Cluster, redis: RedisServer
) -> None:
    await cluster.wait_for_replica()
    for url in (redis.url, cluster.url):
        async with open_pool(url, max_connections=1) as client:
            assert await asyncio.gather(*(client.ping() for _ in range(5))) == [True] * 5
        async with open_pool(url, blocking=False, max_connections=1) as client:
            pings = (client.ping() for _ in range(5))
            answers = await asyncio.gather(*pings, return_exceptions=True)
            assert Counter(map(type, answers)) == {bool: 1, MaxConnectionsError: 4}


async def test_servers_survive_a_failover_and_keep_the_history(
    cluster: Cluster, make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    await cluster.wait_for_replica()
    project = make_project(REDIS_URL=cluster.url)
    token = project.issue_token("anna")
    urls = [f"{launch(project, kind).ws}/ws/broadcast/a/" for kind in ("daphne", "serve")]
    async with open_client(urls[0], token) as here, open_client(urls[1], token) as there:
        epoch = (await there.receive_type("subscribed"))["epoch"]
        offset = 0

        async def publish() -> bool:
            """Publish the next number, with an id; whether it was acknowledged."""
            number = offset + 1
            await here.send({"type": "publish", "data": number, "id": f"{number}", "ref": number})
            while (message := await here.receive(30)).get("ref") != number:
                pass
            if message["type"] == "error":
                assert message["code"] == "unavailable"
                return False
            assert (message["epoch"], message["offset"]) == (epoch, number)
            return True

        for killed in (False, True):
            if killed:
                await wait_until(cluster.count_behind, (0).__eq__)
                await cluster.kill_master()
            for _ in range(5):
                await wait_until(publish, bool)
                offset += 1
        received = [(await there.receive_type("publication", 30))["data"] for _ in range(10)]
    assert received == list(range(1, 11))


async def test_after_a_failover_from_a_master_that_hangs_instances_soon_hear_each_other(
    cluster: Cluster,
    make_project: Callable[..., Project],
    launch: Callable[..., Server],
    report: Callable[[str], None],
) -> None:
    """What has no history comes through the channel layer, or not at all."""
    await cluster.wait_for_replica()
    project = make_project(REDIS_URL=cluster.url, DJANGO_SETTINGS_MODULE="tests.project_settings")
    token = project.issue_token()
    servers = [launch(project, kind) for kind in ("daphne", "serve")]
    urls = [f"{server.ws}/ws/fleeting/a/" for server in servers]
    async with open_client(urls[0], token) as here, open_client(urls[1], token) as there:
        for client in (here, there):
            await client.receive_type("subscribed")

        async def is_heard(speaker: Client, listener: Client) -> bool:
            text = str(time.monotonic())
            await speaker.send({"type": "publish", "data": text})
            with suppress(TimeoutError):
                while (await listener.receive_type("publication", 0.5))["data"] != text:
                    pass
                return True
            return False

        assert await is_heard(here, there)
        assert await is_heard(there, here)
        await cluster.hang_master()
        await cluster.wait_for_promotion()
        promoted = time.monotonic()
        for pair in ((here, there), (there, here)):
            await wait_until(partial(is_heard, *pair), bool)
        delay = time.monotonic() - promoted
    report(f"heard again {delay:.1f} s after the promotion, while the old master still hangs")
    assert delay < 2 * SILENCE_DEADLINE
    for server in servers:
        assert "closing its connection and opening another" in server.read_log()
