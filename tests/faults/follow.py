"""A subscriber as a process of its own, which can be stopped: `python -m tests.faults.follow
URL`, with the token on standard input. Prints each thing it hears as a line of JSON."""

import asyncio
import json
import sys

from tests.faults.witnesses import Subscriber


async def main() -> None:
    """Follow until killed; what was heard goes out as it comes."""
    subscriber = Subscriber([sys.argv[1]], sys.stdin.readline().strip())
    task = asyncio.create_task(subscriber.follow())
    printed = 0
    while not task.done():
        await asyncio.sleep(0.05)
        new, printed = subscriber.heard[printed:], len(subscriber.heard)
        line = {
            "heard": [data["number"] for data in new],
            "gaps": [[gap.after, gap.next, gap.reason] for gap in subscriber.gaps],
            "faults": subscriber.faults,
            "closes": dict(subscriber.closes),
            "recovered": [str(value) for value in subscriber.recovered],
            "offset": subscriber.offset,
            "is_live": subscriber.is_live.is_set(),
        }
        print(json.dumps(line), flush=True)
    await task


if __name__ == "__main__":
    asyncio.run(main())
