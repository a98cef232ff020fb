"""The REST views in a project whose own REST settings are quite others."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.embedded.test_sessions import build_project
from tests.servers import Server, start_server

PASSWORD = "correct horse battery"
API = "/live/api"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = build_project(
        tmp_path_factory.mktemp("project"),
        DJANGO_SETTINGS_MODULE="tests.embedded.hostile_settings",
    )
    code = (
        "from accounts.models import User;"
        f"User.objects.create_superuser('root', password={PASSWORD!r});"
        f"User.objects.create_user('zoë', password={PASSWORD!r})"
    )
    project.manage("shell", "-v", "0", "-c", code)
    server = start_server(project, "serve")
    yield server
    server.stop()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def tokens(server: Server) -> dict[str, dict[str, str]]:
    """By password, over REST."""
    found = {}
    for name in ("root", "zoë"):
        body = {"username": name, "password": PASSWORD}
        answer = httpx.post(f"{server.http}{API}/token/", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json"
        found[name] = {"Authorization": f"Bearer {answer.json()['access']}"}
    return found


def read_error(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body.keys() == {"code", "detail"}
    return answer.status_code, body["code"]


def test_what_is_right_is_answered_as_ever(http: httpx.Client, tokens: Any) -> None:
    root = tokens["root"]
    topic = f"{API}/topics/broadcast:a"
    answer = http.post(f"{topic}/publications/", json={"data": "é"}, headers=tokens["zoë"])
    assert (answer.status_code, answer.json()["offset"]) == (201, 1)
    assert ": " not in answer.text  # JSON as ever, whatever COMPACT_JSON is
    page = http.get(f"{topic}/publications/?limit=1", headers=root).json()
    assert page["publications"][0]["user"] == "zoë"
    assert http.get(f"{API}/sessions/?limit=5", headers=root).json()["count"] == 0
    assert http.get(f"{API}/topics/", headers=root).json() == {"count": 0, "results": []}
    stats = http.post(
        f"{API}/topics/stats:a/publications/", json={"data": {"value": 1}}, headers=root
    )
    assert stats.status_code == 201
    assert http.get(f"{API}/topics/stats:a/stats/", headers=root).json()["value"] == 1
    options = http.options(f"{API}/topics/", headers=root)
    assert options.status_code == 200
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", **root}
    assert http.get(f"{API}/topics/", headers=browser).headers["Content-Type"] == "application/json"
    document = http.get(f"{API}/schema/").json()
    assert f"{API}/sessions/" in document["paths"]


def test_what_is_wrong_is_an_error_in_our_words(http: httpx.Client, tokens: Any) -> None:
    root, zoe = tokens["root"], tokens["zoë"]
    path = f"{API}/topics/broadcast:a/publications/"
    headers = {"Content-Type": "application/json"}
    cases: list[tuple[httpx.Response, tuple[int, str]]] = [
        (http.post(path, content=b"{", headers=headers | root), (400, "invalid_json")),
        (http.post(path, content=b"[]", headers=headers | root), (400, "invalid_json")),
        (http.post(path, json={"date": 1}, headers=root), (400, "invalid_message")),
        (http.post(path, json={"data": 1}), (401, "authentication_required")),
        (
            http.get(f"{API}/topics/", headers={"Authorization": "Bearer x"}),
            (401, "invalid_token"),
        ),
        (http.get(f"{API}/topics/", headers=zoe), (403, "permission_denied")),
        (http.get(f"{API}/topics/?limit=x", headers=root), (400, "invalid_parameter")),
        (http.get(f"{API}/topics/nowhere:a/publications/", headers=root), (404, "unknown_topic")),
        (http.put(f"{API}/topics/", headers=root), (405, "not_supported")),
        (http.get(f"{API}/topics/", headers=root | {"Accept": "text/csv"}), (406, "not_supported")),
        (http.post(f"{API}/token/", content=b"{", headers=headers), (400, "invalid_json")),
        (http.post(f"{API}/token/", data={"a": "b"}), (415, "not_supported")),
        (http.post(f"{API}/token/", json={"username": "root"}), (400, "invalid_message")),
        (
            http.post(f"{API}/token/", json={"username": "root", "password": "x"}),
            (401, "authentication_required"),
        ),
        (http.post(f"{API}/token/verify/", json={"token": "x"}), (401, "invalid_token")),
        (http.get(f"{API}/nothing/", headers=root), (404, "not_found")),
    ]
    assert [read_error(answer) for answer, _ in cases] == [expected for _, expected in cases]
    assert cases[3][0].headers["WWW-Authenticate"].startswith("Bearer")


def test_probes_and_documents_ask_nobody_to_sign_in(http: httpx.Client) -> None:
    for path in ("livez", "readyz", "metrics", "api/asyncapi.json", "api/asyncapi/"):
        assert http.get(f"/live/{path}").status_code == 200, path


def test_the_projects_own_api_and_paths_are_left_alone(http: httpx.Client) -> None:
    answer = http.get("/own/")
    assert (answer.status_code, answer.json()) == (418, {"project": "NotAuthenticated"})
    answer = http.get("/api/nothing/")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")
