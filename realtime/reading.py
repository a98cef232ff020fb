"""How the sessions of a process read one topic's history: together.

A thousand clients that come back at once want nearly the same. One read at a time is under way
for each topic, from the lowest offset that somebody waits for; it serves all that it covers, and
those who come within the next second. What was read is encoded once for all of them, too.
"""

import asyncio
from collections.abc import Callable

from realtime.core.entries import Body
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.encoding import LivePublication
from realtime.history import History, Page

READ_LIMIT = 1000
# Pages stay for this long (s), and so many of them: others are behind whoever asked first.
PAGE_LIFE = 1.0
MAX_PAGES = 4
# Publications of these pages that stay encoded, and the bytes of their bodies.
MAX_OPENED = 1000
MAX_OPENED_BYTES = 1024 * 1024


class Reader:
    """Reads one topic for everybody; `on_page` is called with each page that was read."""

    def __init__(self, topic: Topic, *, history: History, on_page: Callable[[Page], None]) -> None:
        self._topic = topic
        self._history = history
        self._on_page = on_page
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[tuple[int, str], asyncio.Future[Page]] = {}  # by offset and epoch
        self._reading: asyncio.Task[None] | None = None
        self._pages: dict[Page, asyncio.TimerHandle] = {}
        self._opened: dict[tuple[str, int], LivePublication] = {}
        self._opened_bytes = 0

    async def read(self, *, after: int, epoch: str) -> Page:
        """What follows a position, a page of it; raises Unavailable.

        What was read before somebody asked may be older than what they know: they get it only
        where it goes on from their position.
        """
        if not self._history.is_remote:
            return await self._read(after=after)
        for page in self._pages:
            covers = page.start <= after + 1 or page.start == page.first
            if page.epoch == epoch and after < page.end and covers:
                return _cut(page, after=after)
        future = self._wanted.get((after, epoch))
        if future is None:
            future = self._wanted[after, epoch] = self._loop.create_future()
        if self._reading is None:
            self._reading = self._loop.create_task(self._read_wanted())
        return await asyncio.shield(future)

    def open(self, *, epoch: str, number: int, body: Body) -> LivePublication:
        """A publication of a page, encoded once for those who want it at about the same time."""
        publication = self._opened.get((epoch, number))
        if publication is not None:
            return publication
        publication = LivePublication(self._topic, number=number, body=body)
        if not self._opened:
            self._loop.call_later(PAGE_LIFE, self._close_all)
        if (
            len(self._opened) < MAX_OPENED
            and self._opened_bytes + publication.size <= MAX_OPENED_BYTES
        ):
            self._opened[epoch, number] = publication
            self._opened_bytes += publication.size
        return publication

    def forget(self) -> None:
        """Let go of all pages, since they may be wrong by now."""
        for page in tuple(self._pages):
            self._drop(page)

    def _close_all(self) -> None:
        self._opened.clear()
        self._opened_bytes = 0

    async def _read(self, *, after: int) -> Page:
        return await self._history.read(self._topic, after=after, limit=READ_LIMIT, is_held=True)

    async def _read_wanted(self) -> None:
        try:
            while self._wanted:
                asked = frozenset(self._wanted)
                lowest, _ = min(asked)
                try:
                    page = await self._read(after=lowest)
                except Unavailable as error:
                    self._refuse(error)
                    return
                self._keep(page)
                self._on_page(page)
                is_last = page.end >= page.top
                for wanted in sorted(self._wanted):
                    after, epoch = wanted
                    if after < lowest:
                        continue
                    if wanted in asked:
                        is_served = after == lowest or is_last or after < page.end
                    else:
                        is_served = after < page.end and epoch == page.epoch
                    if is_served:
                        _answer(self._wanted.pop(wanted), _cut(page, after=after))
        except BaseException:
            self._refuse(Unavailable("the history was not read; try again"))
            raise
        finally:
            self._reading = None

    def _refuse(self, error: Unavailable) -> None:
        for future in self._wanted.values():
            if not future.done():
                # One exception for each: a shared one would gather every reader's traceback.
                future.set_exception(Unavailable(error.detail))
                future.exception()  # whoever waited may be gone
        self._wanted.clear()

    def _keep(self, page: Page) -> None:
        if not page.bodies:
            return
        if len(self._pages) >= MAX_PAGES:
            self._drop(next(iter(self._pages)))
        self._pages[page] = self._loop.call_later(PAGE_LIFE, self._drop, page)

    def _drop(self, page: Page) -> None:
        self._pages.pop(page).cancel()  # a timer would keep it


def _answer(future: asyncio.Future[Page], page: Page) -> None:
    if not future.done():
        future.set_result(page)


def _cut(page: Page, *, after: int) -> Page:
    """The page as it would be if it had been read after a later offset."""
    passed = max(after + 1 - page.start, 0)
    return Page(
        page.epoch,
        page.first,
        page.top,
        page.start + passed,
        page.bodies[passed:],
        page.links[passed:],
        page.mark,
    )
