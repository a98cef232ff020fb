"""Background work for tests of `serve --background`."""

import asyncio
import os
import signal
from pathlib import Path

FILE = "work.txt"


async def note_process() -> None:
    """Add `begin <pid>` to a file in the data directory now, and `end <pid>` when cancelled."""
    _write("begin")
    try:
        await asyncio.Event().wait()
    finally:
        _write("end")


async def tell_loop_and_end() -> None:
    """Print where the class of the running loop comes from, and end the server."""
    print(type(asyncio.get_running_loop()).__module__)
    os.kill(os.getpid(), signal.SIGTERM)


def _write(word: str) -> None:
    with (Path(os.environ["DATA_DIR"]) / FILE).open("a") as file:
        file.write(f"{word} {os.getpid()}\n")
