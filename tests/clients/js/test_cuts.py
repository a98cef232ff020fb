"""Streams of Node through a proxy that cuts them at random, under thousands of publications."""

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.clients.js.proxy import Proxy
from tests.servers import Server

STREAMS = 20
PUBLICATIONS = 3000
SECONDS = 5
PATIENCE = 120.0  # s, for a machine that is very busy


def test_none_is_missing_and_none_comes_twice(client_server: Server, client_token: str) -> None:
    node = shutil.which("node", path=Path(sys.executable).parent)
    assert node, "these tests need Node, a package of requirements-dev.txt: `make test` installs it"
    chance = random.Random(5)
    with Proxy(client_server.port) as proxy:
        arguments = [f"ws://127.0.0.1:{proxy.port}", client_token, STREAMS, PUBLICATIONS, SECONDS]
        process = subprocess.Popen(
            [node, "cuts.mjs", *map(str, arguments)],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + PATIENCE
        try:
            while proxy.count <= STREAMS:  # all follow, and one publishes
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            for _ in range(SECONDS * 5):
                proxy.cut(chance.randrange(1, 8))
                try:
                    process.wait(chance.uniform(0.1, 0.3))
                except subprocess.TimeoutExpired:
                    continue
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    result = json.loads(output)
    assert result["confirmed"] == PUBLICATIONS, "each publish has an offset of its own"
    assert sum(follower["losses"] for follower in result["followers"]) > STREAMS
    for follower in result["followers"]:
        assert follower["faults"] == []
        offsets = [offset for offset, _ in follower["numbers"]]
        told = [offset for first, last in follower["gaps"] for offset in range(first, last + 1)]
        assert sorted([*offsets, *told]) == list(range(1, PUBLICATIONS + 1))
        assert offsets == sorted(offsets)
        numbers = [number for _, number in follower["numbers"]]
        assert len(set(numbers)) == len(numbers), "what was published again is there once"
