"""Two deployments on one Redis: what is said in the one is never heard in the other."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
import redis as redis_client

from realtime.core.close_codes import CloseCode
from tests.clients import Client, open_client
from tests.servers import Project, RedisServer, Server, start_server

SETTINGS = "tests.presence_settings"


@dataclass
class Scene:
    """Servers by name; `ours` are two instances of one deployment."""

    ours: list[Server]
    numbered: Server  # the same deployment but for the number of its database
    foreign: Server  # on the same database, with secrets and users of its own
    redis: RedisServer
    tokens: dict[int, str]

    def token(self, server: Server) -> str:
        return self.tokens[id(server.project)]


@pytest.fixture(scope="module")
def scene(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    ours = make_project(REDIS_URL=redis.url, DJANGO_SETTINGS_MODULE=SETTINGS)
    token = ours.issue_token()
    numbered = ours.with_environment(REDIS_URL=redis.url.removesuffix("0") + "1")
    foreign = make_project(REDIS_URL=redis.url, DJANGO_SETTINGS_MODULE=SETTINGS)
    tokens = {id(ours): token, id(numbered): token, id(foreign): foreign.issue_token()}
    with ThreadPoolExecutor() as pool:
        one, two, three, four = pool.map(start_server, [ours, ours, numbered, foreign])
    yield Scene([one, two], three, four, redis, tokens)
    for server in (one, two, three, four):
        server.stop(kill=True)
    redis.kill()


async def open_all(stack: AsyncExitStack, scene: Scene, path: str) -> list[Client]:
    """A client of user 1 on each server: ours, ours, numbered, foreign."""
    clients = []
    for server in (*scene.ours, scene.numbered, scene.foreign):
        url = f"{server.ws}{path}"
        clients.append(await stack.enter_async_context(open_client(url, scene.token(server))))
        await clients[-1].receive_type("subscribed")
    return clients


@pytest.mark.parametrize("path", ["/ws/fleeting/a/", "/ws/broadcast/a/", "/ws/room/a/"])
async def test_publications_reach_the_instances_of_one_deployment(scene: Scene, path: str) -> None:
    """Of topics without a history, with one, and with presence."""
    async with AsyncExitStack() as stack:
        here, there, numbered, foreign = await open_all(stack, scene, path)
        for speaker, text in ((numbered, "numbered"), (foreign, "foreign"), (here, "ours")):
            await speaker.send({"type": "publish", "data": text})
        for client, text in (
            (there, "ours"),
            (here, "ours"),
            (numbered, "numbered"),
            (foreign, "foreign"),
        ):
            assert (await client.receive_type("publication"))["data"] == text
        await asyncio.sleep(1.5)  # a check of positions finds nothing more
        for client in (here, there, numbered, foreign):
            with pytest.raises(TimeoutError):
                await client.receive_type("publication", 0.1)


async def test_ending_the_sessions_of_user_1_ends_those_of_one_deployment(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        here, there, numbered, foreign = await open_all(stack, scene, "/ws/broadcast/b/")
        program = "from realtime import disconnect; disconnect(user=1)"
        project = scene.ours[0].project
        await asyncio.to_thread(project.manage, "shell", "--verbosity", "0", "-c", program)
        for client in (here, there):
            code, _ = await client.wait_closed()
            assert code == CloseCode.DISCONNECTED
        for client in (numbered, foreign):
            await client.send({"type": "publish", "data": "still here", "ref": 1})
            await client.receive_type("ack")


async def test_a_process_outside_of_the_server_speaks_for_its_own_deployment(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        here, there, numbered, foreign = await open_all(stack, scene, "/ws/fleeting/c/")
        program = "from realtime import publish; publish('fleeting:c', 'from a job')"
        project = scene.foreign.project
        await asyncio.to_thread(project.manage, "shell", "--verbosity", "0", "-c", program)
        assert (await foreign.receive_type("publication"))["data"] == "from a job"
        for client in (here, there, numbered):
            with pytest.raises(TimeoutError):
                await client.receive_type("publication", 0.3)


async def test_every_name_in_redis_begins_with_the_prefix_of_its_deployment(scene: Scene) -> None:
    """Keys and channels, counts of sign-ins too."""
    async with AsyncExitStack() as stack:
        await open_all(stack, scene, "/ws/room/d/")
        for server in (scene.ours[0], scene.numbered, scene.foreign):
            wrong = {"username": "anna", "password": "wrong"}
            assert httpx.post(f"{server.http}/api/token/", json=wrong, timeout=30).is_error
        prefixes = {}
        for server in (scene.ours[0], scene.foreign):
            program = "from realtime.conf import get_settings; print(get_settings().prefix)"
            told = server.project.manage("shell", "--verbosity", "0", "-c", program)
            prefixes[server.port] = told.strip()
        ours, foreign = prefixes.values()
        assert ours != foreign
        with redis_client.Redis(port=scene.redis.port, decode_responses=True) as client:
            channels = client.pubsub_channels()
            assert {name.split("__group__")[0].split("specific.")[0] for name in channels} == {
                f"{ours}.0",
                f"{ours}.1",
                f"{foreign}.0",
            }
            bases = {0: {f"{ours}.0", f"{foreign}.0"}, 1: {f"{ours}.1"}}
            for number, expected in bases.items():
                client.select(number)
                assert {key.partition(":")[0] for key in client.keys("*")} == expected


async def test_one_prefix_for_two_deployments_is_said_in_the_log(
    redis: RedisServer, make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    common = {"REDIS_URL": redis.url, "REALTIME_PREFIX": "shop"}
    launch(make_project(**common), "serve")
    second = launch(make_project(**common), "serve")
    async with asyncio.timeout(60):
        while "another deployment uses the same names" not in second.read_log():
            await asyncio.sleep(0.1)
