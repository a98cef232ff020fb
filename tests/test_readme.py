"""Every example of the README, run as printed against a server of its own."""

import asyncio
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from realtime.conf import build_settings
from tests.clients import open_client
from tests.servers import ROOT, START_TIMEOUT, Project, RedisServer, Server, start_server

README = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PASSWORD = "correct horse battery"  # of a user that lives as long as this test


@pytest.fixture(scope="module")
def readme_server(make_project: Callable[..., Project]) -> Iterator[Server]:
    project = make_project(REALTIME_ECHO_POLICY="anyone")
    project.manage(
        "shell",
        "--command",
        "from django.contrib.auth import get_user_model as g;"
        f"g().objects.create_user('demo', password={PASSWORD!r})",
    )
    server = start_server(project, "serve", "--background", "demo.feed.publish_host_metrics")
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="module")
def demo_token(readme_server: Server) -> str:
    """An access token of the user `demo`."""
    return readme_server.project.issue_token("demo")


def find_block(language: str, containing: str) -> str:
    """The one code block of that language with that text."""
    found = [text for kind, text in BLOCKS if kind == language and containing in text]
    assert len(found) == 1, f"{len(found)} {language} blocks contain {containing!r}"
    return found[0]


def find_answer_after(block: str) -> str:
    """What the README says to type into a client: the block after the one that starts it."""
    index = next(i for i, (_, text) in enumerate(BLOCKS) if text == block)
    assert BLOCKS[index + 1][0] == ""
    return BLOCKS[index + 1][1]


def run_in_shell(server: Server, script: str) -> str:
    """Run a block as printed, but for the port of the test's server and this environment."""
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    script = script.replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=server.project.full_environment,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def type_into_client(server: Server, block: str, token: str, expected: str) -> str:
    """Start the shell client of a block, type what the README says, wait for a text."""
    command = block.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    command = command.replace(".venv/bin/python", f"exec {sys.executable} -u")
    log = server.project.folder / "client.log"
    with log.open("wb") as output:
        client = subprocess.Popen(
            ["bash", "-c", command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    assert client.stdin is not None
    try:
        for line in find_answer_after(block).splitlines():
            client.stdin.write(line.replace('"token": "…"', f'"token": "{token}"').encode() + b"\n")
            client.stdin.flush()
        deadline = time.monotonic() + START_TIMEOUT
        while expected not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    finally:
        client.stdin.close()
        client.kill()
        client.wait()
    return log.read_text()


def test_a_token_by_password(readme_server: Server) -> None:
    block = find_block("sh", "api/token/").replace("the password that make run showed", PASSWORD)
    assert set(json.loads(run_in_shell(readme_server, block))) == {"access", "refresh"}


def test_a_token_on_the_server_itself(readme_server: Server) -> None:
    block = next(
        text for kind, text in BLOCKS if kind == "sh" and text.endswith("issue_token demo\n")
    )
    assert run_in_shell(readme_server, block).count(".") == 2


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("/ws/broadcast/lobby/", '"data":{"text":"hello"}'),
        ("/ws/stats/sensor/", '"median":2.5'),
        ("/ws/stats/host.cpu/", '"type":"stats"'),
        ("/ws/arrays/demo/", '"shape":[2,3]'),
        ("/ws/echo/", "< hello"),
    ],
)
def test_the_shell_client(
    readme_server: Server, demo_token: str, endpoint: str, expected: str
) -> None:
    type_into_client(readme_server, find_block("sh", endpoint), demo_token, expected)


def test_an_array_in_python(readme_server: Server) -> None:
    block = find_block("python", "np.load")
    output = run_in_shell(readme_server, f".venv/bin/python - <<'PYTHON'\n{block}PYTHON\n")
    assert "float32" in output


async def test_publishing_from_django(
    make_project: Callable[..., Project], launch: Callable[..., Server], redis: RedisServer
) -> None:
    project = make_project(REDIS_URL=redis.url)
    server = launch(project, "serve")
    token = project.issue_token("demo")
    block = find_block("python", "from realtime import publish")
    async with (
        open_client(f"{server.ws}/ws/broadcast/lobby/", token) as lobby,
        open_client(f"{server.ws}/ws/stats/orders/", token) as orders,
    ):
        await lobby.receive_type("subscribed")
        await orders.receive_type("subscribed")
        await asyncio.to_thread(project.manage, "shell", "--command", block)
        assert (await lobby.receive_type("publication"))["data"] == {"text": "deployed"}
        assert (await orders.receive_type("stats"))["value"] == 129.90


async def test_publishing_with_curl(readme_server: Server, demo_token: str) -> None:
    block = find_block("sh", "publications/")
    async with open_client(f"{readme_server.ws}/ws/broadcast/lobby/", demo_token) as client:
        await client.receive_type("subscribed")
        answer = json.loads(await asyncio.to_thread(run_in_shell, readme_server, block))
        assert answer["duplicate"] is False
        publication = await client.receive_type("publication")
        assert publication["data"] == {"text": "hello from curl"}
        assert publication["offset"] == answer["offset"]


def test_namespaces_of_a_project() -> None:
    options: dict[str, Any] = {"NAMESPACES": {}}
    exec(find_block("python", 'REALTIME["NAMESPACES"]'), {"REALTIME": options})
    settings = build_settings(options)
    assert {"ticks", "news", "rooms", "broadcast"} <= set(settings.namespaces)


def test_deployment(make_project: Callable[..., Project], launch: Callable[..., Server]) -> None:
    project = make_project(
        DJANGO_DEBUG="false",
        DJANGO_SECRET_KEY=secrets.token_urlsafe(64),
        JWT_SIGNING_KEY=secrets.token_urlsafe(64),
        DJANGO_ALLOWED_HOSTS="127.0.0.1",
    )
    *commands, serve = find_block("sh", "collectstatic").splitlines()
    for command in commands:
        project.manage(*command.removeprefix(".venv/bin/python manage.py ").split())
    assert serve == ".venv/bin/python manage.py serve --bind 0.0.0.0 --port 8000"
    server = launch(project, "serve", "--bind", "127.0.0.1")
    assert httpx.get(server.http, timeout=30).status_code == 200
    assert '"level": "INFO"' in server.read_log()
