"""A Chromium whose tabs go to the background, which Playwright keeps them from."""

import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

from tests.clients.js.conftest import CHROMIUM_OPTIONS, PATIENCE


class Devtools:
    """The Chrome DevTools Protocol, on one page; another tab beside it can hide it."""

    def __init__(self, profile: Path) -> None:
        chromium = shutil.which("chromium")
        assert chromium, "these tests need Debian's package chromium: apt-get install chromium"
        self._command = [
            *(chromium, "--headless=new", "--no-first-run", "--remote-debugging-port=0"),
            *(f"--user-data-dir={profile}", *CHROMIUM_OPTIONS, "about:blank"),
        ]
        self._address = profile / "DevToolsActivePort"
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            deadline = time.monotonic() + PATIENCE
            while not (self._address.exists() and "\n" in self._address.read_text()):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            port, path = self._address.read_text().split()
            url = f"ws://127.0.0.1:{port}{path}"
            self._socket = stack.enter_context(connect(url, max_size=None, proxy=None))
            self._blank = self._send("Target.createTarget", url="about:blank")["targetId"]
            self._page = self._send("Target.createTarget", url="about:blank")["targetId"]
            attached = self._send("Target.attachToTarget", targetId=self._page, flatten=True)
            self._session: str = attached["sessionId"]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def open(self, url: str) -> None:
        """Go to a page."""
        self._send_to_page("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, code: str) -> Any:
        """The value of an expression; a promise is awaited."""
        answer = self._send_to_page(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression holds."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    def hide(self) -> None:
        """Look at another tab."""
        self._send("Target.activateTarget", targetId=self._blank)
        self.wait("document.visibilityState === 'hidden'")

    def show(self) -> None:
        """Look at this one again."""
        self._send("Target.activateTarget", targetId=self._page)
        self.wait("document.visibilityState === 'visible'")

    def freeze(self, on: bool) -> None:
        """Stop the page, which has to be hidden, as a browser does to save power; or let it run."""
        self._send_to_page("Page.setWebLifecycleState", state="frozen" if on else "active")

    def _send_to_page(self, method: str, **parameters: Any) -> Any:
        return self._send(method, self._session, **parameters)

    def _send(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
