"""Subscribers that do not read, and what the database says of sessions."""

import socket
import sqlite3
from contextlib import closing
from typing import Any

from tests.server.raw import TEXT, RawClient
from tests.servers import Server


def read_rows(server: Server) -> list[tuple[Any, ...]]:
    """Close code and whether it is closed, of each session in the database."""
    with closing(sqlite3.connect(server.project.folder / "db.sqlite3", timeout=30)) as database:
        return database.execute(
            "SELECT close_code, closed_at IS NOT NULL FROM realtime_session"
        ).fetchall()


def open_sleeper(
    server: Server, path: str, *headers: str, receive_buffer: int = 4096
) -> socket.socket:
    """A subscriber that has read its `subscribed` and reads nothing after."""
    client = RawClient(server.port, path, *headers, receive_buffer=receive_buffer)
    while b'"subscribed"' not in client.read_until(TEXT):
        pass
    client.socket.settimeout(None)
    return client.socket
