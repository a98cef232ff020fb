"""The user of Redis that `docs/delivery.md` makes: its rights are enough, and not one too many."""

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import redis as redis_client
from channels.layers import channel_layers

from realtime.checks import check_settings
from tests.clients import open_client
from tests.servers import ROOT, Project, RedisServer, Server
from tests.test_checks import PUBSUB

# Asked for, and done without.
OPTIONAL = {"client|setinfo", "client|maint_notifications", "config|get"}


def read_line() -> str:
    """The command as the document has it."""
    text = (ROOT / "docs" / "delivery.md").read_text()
    (line,) = re.findall(r"^ *(ACL SETUSER .*)$", text, re.MULTILINE)
    return str(line)


def address(redis: RedisServer) -> str:
    """With the password that stands in the document."""
    return f"redis://realtime:password@127.0.0.1:{redis.port}/0"


async def test_everything_works_with_the_documented_rights_and_a_prefix(
    redis: RedisServer, make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    with redis_client.Redis(port=redis.port, decode_responses=True) as client:
        client.execute_command(*read_line().split())
        project = make_project(
            REDIS_URL=address(redis),
            REALTIME_PREFIX="shop",
            REALTIME_LEASE_SECONDS="3",
            REALTIME_LEASE_RENEWAL_SECONDS="1",
            DJANGO_SETTINGS_MODULE="tests.presence_settings",
        )
        token = project.issue_token()
        servers = [launch(project, "serve") for _ in range(2)]
        for path in ("room/a", "fleeting/a", "stats/a"):
            urls = [f"{server.ws}/ws/{path}/" for server in servers]
            async with open_client(urls[0], token) as here, open_client(urls[1], token) as there:
                await there.receive_type("subscribed")
                if path == "stats/a":
                    await here.send({"value": 1})
                    await there.receive_type("stats")
                    continue
                await here.send({"type": "publish", "data": 1, "ref": 1})
                assert (await there.receive_type("publication"))["data"] == 1
                if path == "room/a":
                    async with open_client(urls[0], token):
                        assert (await there.receive_type("join"))["user"] == "anna"
        headers = {"Authorization": f"Bearer {token}"}
        base = f"{servers[0].http}/api"
        for name in ("publications", "presence"):
            answer = httpx.get(f"{base}/topics/room:a/{name}/", headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text
        for _ in range(2):  # the second one raises the count of the first
            wrong = {"username": "anna", "password": "wrong"}
            assert httpx.post(f"{base}/token/", json=wrong, timeout=30).status_code == 401
        program = (
            "from realtime import disconnect, publish; publish('room:a', 1); disconnect(user=1)"
        )
        project.manage("shell", "--verbosity", "0", "-c", program)
        time.sleep(4)  # leases are renewed, rosters compared
        assert httpx.get(f"{servers[0].http}/readyz", timeout=30).json()["status"] == "ok"
        servers[0].stop(kill=True)  # the other one forgets its members
        time.sleep(6)
        assert servers[1].stop() == 0
        refused = {entry["object"] for entry in client.acl_log()}
        assert refused <= OPTIONAL
        assert not any("another process" in server.read_log() for server in servers)
        for server in servers:
            for line in server.read_log().splitlines():
                assert "NOPERM" not in line
                assert "in this process alone" not in line


def test_each_of_the_documented_rights_is_needed_and_missed_by_the_check(
    redis: RedisServer, settings: Any
) -> None:
    config = {"hosts": [address(redis)], "prefix": "shop.0"}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB, "CONFIG": config}}
    patient = {"REDIS_URL": address(redis), "PREFIX": "shop", "HISTORY_TIMEOUT": 30.0}
    settings.REALTIME = patient
    rights = [word for word in read_line().split() if word.startswith("+")]
    unmissed = set()
    with redis_client.Redis(port=redis.port) as client:
        client.execute_command(*read_line().split())
        assert check_settings() == []
        for right in rights:
            client.execute_command("ACL", "SETUSER", "realtime", f"-{right[1:]}")
            messages = check_settings()
            if not messages:
                unmissed.add(right[1:])
            assert all(right[1:] in m.msg or "MULTI" in m.msg for m in messages), messages
            client.execute_command("ACL", "SETUSER", "realtime", right)
            client.flushall()  # what a script has done in part
    channel_layers.backends.clear()
    # Of connections, of a look at its settings, of Django's cache, and of quotas that have expired.
    assert unmissed <= {"auth", "hello", "select", "info", "incrby", "zrem"}
