"""The recipes of the documentation, run as they stand there, from the files that they name."""

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright
from websockets.sync.client import ClientConnection, connect

from tests.clients import save_array
from tests.clients.conftest import sign_again
from tests.servers import ROOT, START_TIMEOUT, Project, Server, start_server

BLOCK = re.compile(r"^```\w+\n(?:# |// |<!-- )(\S+\.\w+)(?: -->)?\n(.*?)^```$", re.DOTALL | re.M)
PASSWORD = "correct horse battery"  # of a user that lives as long as this file's tests

SETTINGS = """
from project.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "board"]
"""


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the recipes name."""
    folder = tmp_path_factory.mktemp("recipes")
    for name, code in BLOCK.findall((ROOT / "docs" / "recipes.md").read_text()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    (folder / "recipe_settings.py").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def kitchen(make_project: Callable[..., Project], recipes: Path) -> Iterator[Server]:
    """A server with the user `demo`."""
    project = make_project(PYTHONPATH=f"{recipes}:{ROOT}", DJANGO_SETTINGS_MODULE="recipe_settings")
    code = (
        f"from accounts.models import User; User.objects.create_user('demo', password={PASSWORD!r})"
    )
    project.manage("shell", "--verbosity", "0", "--command", code)
    server = start_server(project, "serve")
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="module")
def headers(kitchen: Server) -> dict[str, str]:
    """What the user `demo` is known by."""
    return {"Authorization": f"Bearer {kitchen.project.issue_token('demo')}"}


def receive_bytes(socket: ClientConnection) -> bytes:
    """The next message that is no text."""
    while isinstance(message := socket.recv(timeout=30), str):
        pass
    return message


def start(recipes: Path, name: str, server: Server) -> "subprocess.Popen[str]":
    """Start one of the Python recipes as its reader would."""
    return subprocess.Popen(
        [sys.executable, recipes / name],
        env={
            "PYTHONPATH": str(ROOT / "clients" / "python"),
            "REALTIME_URL": server.ws,
            "REALTIME_USERNAME": "demo",
            "REALTIME_PASSWORD": PASSWORD,
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def run(recipes: Path, name: str, server: Server) -> str:
    """Run one to its end; returns what it printed."""
    with start(recipes, name, server) as process:
        output, _ = process.communicate(timeout=START_TIMEOUT)
    assert process.returncode == 0
    return output


def test_a_sensor_sends_ten_samples_a_second(
    kitchen: Server, recipes: Path, headers: dict[str, str]
) -> None:
    with start(recipes, "sensor.py", kitchen) as sensor:
        try:
            assert sensor.stdout is not None
            topic = sensor.stdout.readline().strip()
            with connect(f"{topic}?window=10s", additional_headers=headers) as socket:
                counts: list[int] = []
                while not counts or counts[-1] < 20:
                    message = json.loads(socket.recv(timeout=30))
                    if message["type"] == "stats":
                        counts.append(message["count"])
        finally:
            sensor.kill()
    assert set(np.diff(counts)) <= {10}


def test_a_notebook_reads_arrays_and_sends_one(
    kitchen: Server, recipes: Path, headers: dict[str, str]
) -> None:
    with (
        connect(f"{kitchen.ws}/ws/arrays/host.cpu/", additional_headers=headers) as cores,
        connect(f"{kitchen.ws}/ws/arrays/noisy/", additional_headers=headers) as noisy,
    ):
        for number in range(5):
            cores.send(save_array(np.full((4, 3), float(number))))
            receive_bytes(cores)  # it is in the history
        output = run(recipes, "notebook.py", kitchen)
        message = receive_bytes(noisy)
    assert output == "[(4, 3), (4, 3), (4, 3)] 4.0\n"
    assert np.load(io.BytesIO(message), allow_pickle=False).shape == (4, 3)


def test_a_worker_publishes_each_job_once(kitchen: Server, recipes: Path) -> None:
    assert json.loads(run(recipes, "worker.py", kitchen)) == list(range(1, 51))


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of Chromium, in which no error may stay uncaught."""
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"],
        )
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        browser.close()
    assert errors == []


def sign_in(page: Page) -> None:
    """Fill in the form of the page, and send it."""
    page.get_by_label("Name").fill("demo")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_a_page_shows_what_is_said_and_says_something(kitchen: Server, page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{kitchen.http}/static/board/index.html")
    sign_in(page)
    expect(page.get_by_role("status")).to_have_text("live", timeout=30_000)
    page.get_by_label("Say").fill("<b>hello</b>")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("listitem")).to_have_text(["demo: <b>hello</b>"], timeout=30_000)
    expect(page.get_by_label("Say")).to_have_value("", timeout=30_000)
    assert complaints == []


def test_a_page_whose_password_is_wrong_says_so(kitchen: Server, page: Page) -> None:
    page.goto(f"{kitchen.http}/static/board/index.html")
    page.get_by_label("Name").fill("demo")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_contain_text("password right?", timeout=30_000)
    expect(page.get_by_label("Say")).to_be_hidden()


def test_a_page_whose_renewal_got_no_answer_asks_for_the_password_again(
    kitchen: Server, page: Page
) -> None:
    """The server has spent the refresh token; sent once more, it would look stolen."""
    refreshes = 0

    def expire(route: Route) -> None:
        """Sign in, with an access token that is over."""
        answer = route.fetch()
        pair = answer.json()
        route.fulfill(
            response=answer,
            json={**pair, "access": sign_again(kitchen.project, pair["access"], -60)},
        )

    def lose(route: Route) -> None:
        nonlocal refreshes
        refreshes += 1
        assert route.fetch().ok
        route.abort()

    page.route("**/api/token/", expire, times=1)
    page.route("**/api/token/refresh/", lose)
    page.goto(f"{kitchen.http}/static/board/index.html")
    sign_in(page)
    status, button = page.get_by_role("status"), page.get_by_role("button", name="Sign in")
    expect(status).to_have_text("Please sign in again.", timeout=30_000)
    expect(page.get_by_label("Say")).to_be_hidden()
    button.click()
    expect(status).to_have_text("live", timeout=30_000)
    expect(button).to_be_hidden()
    page.get_by_label("Say").fill("again")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("listitem").last).to_have_text("demo: again", timeout=30_000)
    assert page.get_by_text("demo: again").count() == 1
    assert refreshes == 1


def test_every_recipe_is_run(recipes: Path) -> None:
    names = {str(path.relative_to(recipes)) for path in recipes.rglob("*") if path.is_file()}
    assert names == {
        "recipe_settings.py",
        "sensor.py",
        "notebook.py",
        "worker.py",
        "board/static/board/index.html",
        "board/static/board/board.js",
    }
