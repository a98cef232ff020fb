"""The tests that such a project has of its own, on SQLite in memory; run by test_own_tests.py.

A WebSocket goes through the whole application, from cases of every kind that Django and
pytest-django have.
"""

import asyncio

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client, TestCase, TransactionTestCase

from realtime import apublish
from tests.embedded.application import application

SESSIONS = 5


def sign_in(name):
    """A user with a permission, and the cookie of a session."""
    user = User.objects.create_user(name)
    mine = Permission.objects.filter(content_type__app_label="realtime", codename="view_session")
    user.user_permissions.set(mine)
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def open_socket(key, path="/ws/guarded/a/"):
    headers = [
        (b"cookie", f"sessionid={key}".encode()),
        (b"host", b"127.0.0.1"),
        (b"origin", b"http://127.0.0.1"),
    ]
    return WebsocketCommunicator(application, path, headers=headers)


async def use_sockets(key, *, write):
    """Several sessions at once that come, hear and go, while rows are written beside them."""
    sockets = [open_socket(key) for _ in range(SESSIONS)]
    for socket in sockets:
        connected, _ = await socket.connect(timeout=10)
        assert connected
    for socket in sockets:
        assert (await socket.receive_json_from(10))["type"] == "hello"
        assert (await socket.receive_json_from(10))["type"] == "subscribed"
    for number in range(5):
        await write(number)
        await apublish("guarded:a", number)
        for socket in sockets:
            assert (await socket.receive_json_from(10))["data"] == number
        await asyncio.sleep(0.03)
    for socket in sockets:
        await socket.disconnect(timeout=10)


async def write_rows(number):
    def write():
        user = User.objects.create_user(f"user {number}")
        user.first_name = "changed"
        user.save()
        assert User.objects.filter(first_name="changed").exists()
        assert Session.objects.exists()

    await sync_to_async(write)()


class SocketTestCase(TestCase):
    """Everything in one transaction that is rolled back."""

    def setUp(self):
        self.key = sign_in("anna")

    def test_from_sync_code(self):
        async_to_sync(use_sockets)(self.key, write=write_rows)

    async def test_from_async_code(self):
        await use_sockets(self.key, write=write_rows)

    async def test_again(self):
        await use_sockets(self.key, write=write_rows)


class SocketTransactionTestCase(TransactionTestCase):
    """Everything is committed, and the tables are emptied after."""

    def setUp(self):
        self.key = sign_in("anna")

    def test_from_sync_code(self):
        async_to_sync(use_sockets)(self.key, write=write_rows)

    async def test_from_async_code(self):
        await use_sockets(self.key, write=write_rows)


@pytest.mark.django_db(transaction=True)
async def test_with_pytest_and_transactions():
    key = await sync_to_async(sign_in)("anna")
    await use_sockets(key, write=write_rows)


@pytest.mark.django_db
def test_with_pytest_in_one_transaction():
    async_to_sync(use_sockets)(sign_in("anna"), write=write_rows)


@pytest.fixture
def key(transactional_db):
    return sign_in("anna")


async def test_with_a_fixture_of_sync_code(key):
    await use_sockets(key, write=write_rows)
