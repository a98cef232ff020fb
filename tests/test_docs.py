"""The code in the documentation is run as it stands there."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import open_client
from tests.servers import ROOT, Project, RedisServer, Server

BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

SETTINGS = """
from project.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "shop"]
"""
WORK = """
import threading
from django.core.management import call_command
from django.db import connection, transaction
from realtime import publish
from shop.models import Order

for name in ("Ann", "Bob", ""):
    Order.objects.create(customer=name)
try:
    call_command("ship_orders")
except ValueError as error:
    print(error)
Order.objects.get(pk=3).delete()

def save():
    with transaction.atomic():
        Order.objects.create(customer="Cy")
    connection.close()
    publish("broadcast:orders", "no transaction", on_commit=True)
    assert connection.connection is None

thread = threading.Thread(target=save)
thread.start()
thread.join()
"""


def write_code(document: str, folder: Path) -> None:
    """Write the code blocks that begin with the name of a file, as packages."""
    for name, code in BLOCK.findall((ROOT / "docs" / document).read_text()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        for package in path.relative_to(folder).parents[:-1]:
            (folder / package / "__init__.py").touch()


@pytest.fixture
def shop(make_project: Callable[..., Project], redis: RedisServer, tmp_path: Path) -> Project:
    """A project with the app of `docs/publishing.md`."""
    write_code("publishing.md", tmp_path)
    (tmp_path / "shop_settings.py").write_text(SETTINGS)
    project = make_project(
        REDIS_URL=redis.url,
        PYTHONPATH=f"{tmp_path}:{ROOT}",
        DJANGO_SETTINGS_MODULE="shop_settings",
    )
    project.manage("migrate", "--run-syncdb", "--verbosity", "0")
    return project


async def test_changes_of_a_model_reach_the_topic_when_they_are_committed(
    shop: Project, launch: Callable[..., Server]
) -> None:
    server = launch(shop)
    url = f"{server.ws}/ws/broadcast/orders/"
    async with open_client(url, shop.issue_token("anna")) as client:
        await client.receive_type("subscribed")

        async def receive() -> Any:
            return (await client.receive_type("publication"))["data"]

        output = await asyncio.to_thread(
            shop.manage, "shell", "--verbosity", "0", "--command", WORK
        )
        assert "order 3 has no customer" in output
        for order in (1, 2, 3):
            assert await receive() == {"order": order, "change": "created", "status": "new"}
        # The command had saved two when it rolled back.
        assert await receive() == {"order": 3, "change": "deleted"}
        assert (await receive())["change"] == "created"
        assert await receive() == "no transaction"

        await asyncio.to_thread(shop.manage, "ship_orders")
        shipped = [await receive() for _ in range(3)]
        assert [each["order"] for each in shipped[:2]] == [1, 2]
        assert {(each["change"], each["status"]) for each in shipped} == {("changed", "shipped")}
