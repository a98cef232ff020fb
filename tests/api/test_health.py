"""Alive, ready, and not ready without a database."""

import time
from collections.abc import Callable

import httpx
import pytest
import redis as redis_client

from realtime.database_probe import FRESH, TIMEOUT
from tests.servers import Project, RedisServer, Server


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
    time.sleep(2 * FRESH)  # so long the last answer is good for others
    began = time.monotonic()
    response = get(server, "readyz")
    assert time.monotonic() - began < 2 * TIMEOUT + 5
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "failed": ["database"], "degraded": []}
    assert get(server, "livez").status_code == 200
    for part in project.folder.glob("db.sqlite3-*"):
        part.unlink(missing_ok=True)  # the last connection takes it along
    away.replace(database)
    time.sleep(2 * FRESH)
    assert get(server, "readyz").status_code == 200


@pytest.mark.parametrize("kind", ["daphne", "serve"])
def test_a_redis_that_refuses_is_degraded_and_publishers_are_told_why_and_that_it_is_not_done(
    make_project: Callable[..., Project],
    launch: Callable[..., Server],
    redis: RedisServer,
    kind: str,
) -> None:
    """It answers every ping and takes no write; sockets are good, so instances stay in."""
    password = "hunter2-of-redis"
    with redis_client.Redis(port=redis.port) as client:
        client.execute_command(
            "ACL", "SETUSER", "realtime", "on", f">{password}", "~*", "&*", "+@all"
        )
        url = f"redis://realtime:{password}@127.0.0.1:{redis.port}/0"
        project = make_project(REDIS_URL=url)
        server = launch(project, kind)
        headers = {"Authorization": f"Bearer {project.issue_token()}"}
        address = f"{server.http}/api/topics/broadcast:a/publications/"
        assert get(server, "readyz").json() == {"status": "ok", "failed": [], "degraded": []}
        for harm, mend, reason in (
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "the store is out of memory"),
            ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "the store is read-only now"),
        ):
            client.execute_command(*harm.split())
            time.sleep(1.0)
            response = get(server, "readyz")
            assert response.status_code == 200
            assert response.json() == {
                "status": "degraded",
                "failed": [],
                "degraded": ["redis"],
                "reasons": {"redis": reason},
            }
            refused = httpx.post(address, json={"data": 1}, headers=headers, timeout=30)
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert (
                refused.json()["detail"]
                == f"it was not published: {reason}; repeat it later with the same id"
            )
            client.execute_command(*mend.split())
        accepted = httpx.post(address, json={"data": 2}, headers=headers, timeout=30)
        assert (accepted.status_code, accepted.json()["offset"]) == (201, 1)
        time.sleep(1.0)
        assert get(server, "readyz").json()["status"] == "ok"
    log = server.read_log()
    assert "OOM command not allowed when used memory > 'maxmemory'" in log
    assert "READONLY You can't write against a read only replica" in log
    assert password not in log


def test_many_who_ask_are_answered_by_few_questions_to_redis(
    make_project: Callable[..., Project], launch: Callable[..., Server], redis: RedisServer
) -> None:
    server = launch(make_project(REDIS_URL=redis.url), "serve")
    get(server, "readyz")
    with redis_client.Redis(port=redis.port) as client, httpx.Client(timeout=30) as http:
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        began = time.monotonic()
        for _ in range(100):
            assert http.get(f"{server.http}/readyz").json()["status"] == "ok"
        seconds = time.monotonic() - began
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    # Besides, limits and presence have calls of their own, of which each second has a few.
    assert calls < 20 + 10 * seconds
