"""Alive, ready, and not ready without a database."""

import time
from collections.abc import Callable

import httpx
import pytest

from realtime.api.health import DATABASE_TIMEOUT
from tests.servers import Project, Server


def get(server: Server, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{server.http}/{path}", headers=headers, timeout=30)


def test_a_healthy_server_is_alive_and_ready(server: Server) -> None:
    response = get(server, "livez")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    response = get(server, "readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "failed": [], "degraded": []}


@pytest.mark.parametrize("path", ["livez", "readyz"])
def test_health_needs_no_token_is_never_cached_and_only_read(server: Server, path: str) -> None:
    response = httpx.head(f"{server.http}/{path}", timeout=30)
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    assert httpx.post(f"{server.http}/{path}", timeout=30).is_client_error


PRODUCTION = {
    "DJANGO_DEBUG": "false",
    "DJANGO_SECRET_KEY": "".join(chr(33 + n % 90) for n in range(64)),
    "JWT_SIGNING_KEY": "".join(chr(122 - n % 90) for n in range(64)),
    "DJANGO_ALLOWED_HOSTS": "live.example.org",
    "DJANGO_BEHIND_TLS_PROXY": "true",
    "DJANGO_SSL_REDIRECT": "true",
}


def test_probes_ask_by_address_and_without_tls(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    server = launch(make_project(**PRODUCTION))
    for path in ("livez", "readyz", "metrics"):
        assert get(server, path).status_code == 200
    assert get(server, "api/nowhere/").status_code == 400
    host = {"Host": "live.example.org"}
    assert get(server, "api/nowhere/", **host).status_code == 301
    behind = {**host, "X-Forwarded-Proto": "https"}
    answer = get(server, "api/nowhere/", **behind)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = get(server, "nowhere/", **behind)
    assert (answer.status_code, answer.headers["Content-Type"][:9]) == (404, "text/html")


def test_without_a_database_the_server_is_alive_but_not_ready_until_it_is_back(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    project = make_project()
    database = project.folder / "db.sqlite3"
    server = launch(project)
    assert get(server, "readyz").status_code == 200
    # Moved, not written over: connections that are open go on writing to the old file.
    away = project.folder / "away.sqlite3"
    database.rename(away)
    for part in project.folder.glob("db.sqlite3-*"):
        part.unlink(missing_ok=True)  # the last connection takes it along
    database.write_bytes(b"this is no database at all\n" * 1000)
    began = time.monotonic()
    response = get(server, "readyz")
    assert time.monotonic() - began < 2 * DATABASE_TIMEOUT + 5
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "failed": ["database"], "degraded": []}
    assert get(server, "livez").status_code == 200
    for part in project.folder.glob("db.sqlite3-*"):
        part.unlink(missing_ok=True)  # the last connection takes it along
    away.replace(database)
    assert get(server, "readyz").status_code == 200
