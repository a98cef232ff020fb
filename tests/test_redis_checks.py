"""System checks of Redis, against real servers: what is wrong is named before anything runs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis as redis_client
from channels.layers import channel_layers
from django.core.checks import CheckMessage

from realtime.checks import check_settings
from tests.servers import Project, RedisServer, Server, find_free_port
from tests.test_checks import PUBSUB, run

ACL = "ACL SETUSER default resetkeys ~rt.0* resetchannels &rt.0* "


@pytest.fixture(autouse=True)
def _fresh_layers() -> Iterator[None]:
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()


@pytest.fixture
def check(settings: Any) -> Callable[..., list[CheckMessage]]:
    """Checks a Redis with the names that begin with rt."""

    def check(redis: RedisServer, *, prefix: str = "rt.0", **options: Any) -> list[CheckMessage]:
        config = {"hosts": [redis.url], "prefix": prefix}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB, "CONFIG": config}}
        patient = {"REDIS_URL": redis.url, "PREFIX": "rt", "HISTORY_TIMEOUT": 30.0}
        settings.REALTIME = {**patient, **options}
        return check_settings()

    return check


Check = Callable[..., list[CheckMessage]]


def test_what_is_tried_leaves_no_name_but_its_own_and_all_of_it_ends(
    redis: RedisServer, check: Check
) -> None:
    assert check(redis) == []
    with redis_client.Redis(port=redis.port, decode_responses=True) as client:
        for key in client.keys("*"):
            assert key == "rt.0:deployment" or key.startswith("rt.0:{_pulse:check}:")
            assert client.ttl(key) > 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("CONFIG SET maxmemory 1", "OOM"),
        ("CONFIG SET min-replicas-to-write 1", "NOREPLICAS"),
        ("ACL SETUSER default resetchannels", "channel"),
        (ACL + "-subscribe", "'subscribe'"),
        (ACL + "-publish", "'publish'"),
        (ACL + "-xadd", "'xadd'"),
        (ACL + "-evalsha", "'evalsha'"),
        (ACL + "-hgetall", "'hgetall'"),
        (ACL + "-srem", "'srem'"),
        (ACL.replace("~rt.0*", "~other*"), "key"),
    ],
)
def test_w002_redis_refuses_what_the_server_needs(
    redis: RedisServer, check: Check, command: str, says: str
) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.execute_command(*command.split())
    (message,) = check(redis)
    assert message.id == "realtime.W002"
    assert says in message.msg
    assert "docs/delivery.md" in str(message.hint)


@pytest.mark.parametrize("prefix", ["asgi", "rt.1", "rt"])
def test_w003_the_channels_of_the_layer_may_be_those_of_another_deployment(
    redis: RedisServer, check: Check, prefix: str
) -> None:
    (message,) = check(redis, prefix=prefix)
    assert message.id == "realtime.W003"
    assert repr(prefix) in message.msg
    assert "['CONFIG']['prefix'] to 'rt.0'" in str(message.hint)


def test_w004_the_address_is_that_of_a_replica(redis: RedisServer, check: Check) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.replicaof("127.0.0.1", "1")
        client.config_set("replica-read-only", "no")
    (message,) = check(redis)
    assert message.id == "realtime.W004"
    assert "primary" in str(message.hint)


@pytest.mark.parametrize("prefix", ["{a}", "a b", "a:b", "a*", "-a", "é", "a" * 33])
def test_e011_a_prefix_that_names_cannot_begin_with(
    redis: RedisServer, check: Check, prefix: str
) -> None:
    (message,) = check(redis, PREFIX=prefix)
    assert message.id == "realtime.E011"
    assert repr(prefix) in message.msg
    assert "A-Z" in message.msg


def test_i002_settings_that_will_do_harm(redis: RedisServer, check: Check) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    (message,) = check(redis)
    assert message.id == "realtime.I002"
    assert "allkeys-lru" in message.msg


def test_e010_a_cluster_stops_the_start_and_stock_daphne_is_not_ready_on_it(
    tmp_path: Path, make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    redis = RedisServer.make_cluster(tmp_path)
    try:
        project = make_project(REDIS_URL=redis.url)
        code, output = run(project, "serve", "--port", str(find_free_port()))
        assert code == 1
        assert "realtime.E010" in output
        assert "it is a Redis Cluster, which is not supported" in output
        assert "Traceback" not in output
        answer = httpx.get(f"{launch(project, 'daphne').http}/readyz", timeout=30)
        assert (answer.status_code, answer.json()["failed"]) == (503, ["redis"])
        assert "Redis Cluster" in answer.json()["reasons"]["redis"]
    finally:
        redis.kill()
