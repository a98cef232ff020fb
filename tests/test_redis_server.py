"""What a server says of itself, against real ones: a primary, a replica, a cluster, a Sentinel."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from realtime.conf import Settings, build_settings
from realtime.redis_server import Kind, RedisServer, build_fingerprint
from tests import servers


def build(redis: servers.RedisServer, **options: Any) -> Settings:
    return build_settings({"REDIS_URL": redis.url, "HISTORY_TIMEOUT": 30.0, **options})


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[servers.RedisServer]:
    """A Sentinel that watches nothing."""
    server = servers.RedisServer(tmp_path)
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {server.port}\nbind 127.0.0.1\n")
    process = subprocess.Popen(
        [str(servers.find_valkey_server()), str(config), "--sentinel"], stdout=subprocess.DEVNULL
    )
    client = redis_client.Redis(port=server.port)
    while process.poll() is None:
        try:
            client.ping()
            break
        except redis_client.ConnectionError:
            continue
    yield server
    client.close()
    process.kill()
    process.wait()


async def test_a_single_server_fits(redis: servers.RedisServer) -> None:
    kind = await RedisServer(build(redis)).read_kind()
    assert (kind.mode, kind.is_replica, kind.misfit) == ("standalone", False, "")
    assert kind.version[0].isdecimal()


async def test_a_replica_is_known(redis: servers.RedisServer) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.replicaof("127.0.0.1", "1")
    kind = await RedisServer(build(redis)).read_kind()
    assert kind.is_replica


async def test_a_cluster_and_a_sentinel_do_not_fit(
    tmp_path: Path, sentinel: servers.RedisServer
) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = servers.RedisServer.make_cluster(folder)
    try:
        assert "Cluster" in (await RedisServer(build(cluster)).read_kind()).misfit
    finally:
        cluster.kill()
    assert "Sentinel" in (await RedisServer(build(sentinel)).read_kind()).misfit


@pytest.mark.parametrize(
    ("version", "fits"),
    [("6.0.16", False), ("6.2.0", True), ("7.0.15", True), ("10.1.0", True), ("5 or older", False)],
)
def test_a_server_that_is_too_old_does_not_fit(version: str, fits: bool) -> None:
    assert (Kind(version=version).misfit == "") is fits


async def test_a_server_that_keeps_its_kind_to_itself_is_taken_as_it_is(
    redis: servers.RedisServer,
) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.execute_command("ACL", "SETUSER", "default", "-hello")
    assert (await RedisServer(build(redis)).read_kind()).misfit == ""


async def test_a_channel_that_may_not_be_heard_is_refused(redis: servers.RedisServer) -> None:
    server = RedisServer(build(redis))
    await server.try_subscribing("rt.0__group__a")
    with redis_client.Redis(port=redis.port) as client:
        client.execute_command("ACL", "SETUSER", "default", "resetchannels", "&rt.0*")
        await server.try_subscribing("rt.0__group__a")
        with pytest.raises(redis_client.exceptions.NoPermissionError):
            await server.try_subscribing("asgi__group__a")


async def test_names_belong_to_the_deployment_that_uses_them(
    redis: servers.RedisServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = RedisServer(build(redis))
    assert [await ours.claim_names() for _ in range(2)] == [True, True]
    before = build_fingerprint()
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", "another")
    assert build_fingerprint() != before
    assert not await ours.claim_names()  # the same names, from another deployment
    assert await RedisServer(build(redis, PREFIX="other")).claim_names()
    assert settings.SECRET_KEY not in build_fingerprint()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
        ("maxmemory-policy", "volatile-ttl", "noeviction"),
        ("client-output-buffer-limit", "pubsub 1mb 0 0", "32mb"),
    ],
)
async def test_settings_that_will_do_harm_are_named_with_the_mend(
    redis: servers.RedisServer, name: str, value: str, says: str
) -> None:
    server = RedisServer(build(redis))
    with redis_client.Redis(port=redis.port) as client:
        client.config_set("maxmemory", "1gb")
        assert await server.find_faults() == []
        client.config_set(name, value)
        (fault,) = await server.find_faults()
        assert says in fault
        client.execute_command("ACL", "SETUSER", "default", "-config", "-info")
        assert await server.find_faults() == []  # it does not let us look


async def test_a_memory_that_is_nearly_full_is_named(redis: servers.RedisServer) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.02))
    (fault,) = await RedisServer(build(redis)).find_faults()
    assert "maxmemory" in fault
