"""Another user's echo client beside an attack: what it waits for each answer.

It runs in a process of its own, so that the attacker's threads in this one do not hold it up.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from websockets.asyncio.client import connect

from tests.servers import ROOT, Server

# Seconds between two messages: twenty of them a second.
INTERVAL = 0.05


@dataclass
class Victim:
    """Use it around an attack; afterwards it knows its round trips, in seconds.

    Where the echo is not open to anyone it needs a token of its own user.
    """

    server: Server
    token: str | None = None
    trips: list[float] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.victim", f"{self.server.ws}/ws/echo/"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.token or ''}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        out, _ = self._process.communicate(timeout=60)  # closes its input, which ends it
        if kind is None:
            assert self._process.returncode == 0, "the victim's connection was lost"
            self.trips = json.loads(out)

    def quantile(self, q: float) -> float:
        """That quantile of the round trips, in seconds."""
        ordered = sorted(self.trips)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    def __str__(self) -> str:
        return (
            f"victim: {len(self.trips)} round trips, p50 {self.quantile(0.5) * 1000:.1f} ms, "
            f"p99 {self.quantile(0.99) * 1000:.1f} ms, worst {max(self.trips) * 1000:.0f} ms"
        )


async def _live(url: str) -> None:
    loop = asyncio.get_running_loop()
    token = sys.stdin.readline().strip()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    stopping = loop.run_in_executor(None, sys.stdin.read)
    trips = []
    async with connect(url, additional_headers=headers, ping_interval=None) as socket:
        await socket.send("first")
        await socket.recv()
        print("ready", flush=True)
        while not stopping.done():
            began = time.perf_counter()
            await socket.send("hello")
            assert await socket.recv() == "hello"
            trips.append(time.perf_counter() - began)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(stopping), INTERVAL)
    print(json.dumps(trips))


if __name__ == "__main__":
    asyncio.run(_live(sys.argv[1]))
