"""Whatever stands in a URL of the REST API, the answer is one of its own."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from tests.admin.test_lookups import NASTY, encode

PATHS = [
    *("/api/sessions/{}/", "/api/topics/{}/publications/", "/api/topics/broadcast:{}/stats/"),
    *(f"/api/sessions/?{name}={{}}" for name in ("user", "topic", "instance", "address", "limit")),
    *(f"/api/topics/?{name}={{}}" for name in ("offset", "limit", "x")),
    *(f"/api/topics/stats:x/publications/?{name}={{}}" for name in ("after", "epoch", "limit")),
    *(f"/api/topics/stats:x/stats/?{name}={{}}" for name in ("window", "fields")),
]


@pytest.fixture
def api(db: None) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(get_user_model().objects.create_superuser("root"))
    return client


def check(api: APIClient, path: str, text: str) -> None:
    method = api.delete if path == "/api/sessions/{}/" else api.get
    answer = method(path.format(encode(text)))
    # Without a server there are no topics to read: that is known when all else is right.
    assert answer.status_code in (200, 400, 404, 503), answer.content
    if answer.status_code != 200:
        assert set(answer.json()) == {"code", "detail"}
        assert answer.json()["code"] != "internal"


@pytest.mark.parametrize("path", PATHS)
def test_nasty_values_get_an_error_with_a_code(api: APIClient, path: str) -> None:
    for text in NASTY:
        check(api, path, text)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), text=st.text(st.characters(), max_size=40))
def test_so_do_all_others(api: APIClient, path: str, text: str) -> None:
    check(api, path, text)


def test_an_address_is_one_of_ip(api: APIClient) -> None:
    answer = api.get("/api/sessions/?address=nowhere")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert api.get("/api/sessions/?address=2001:db8::1").json()["count"] == 0


def test_a_user_makes_so_many_requests_a_second_from_whatever_addresses(
    api: APIClient, settings: Any
) -> None:
    settings.REALTIME = {**settings.REALTIME, "REQUESTS_PER_SECOND": 2}
    answers = [api.get("/api/topics/", REMOTE_ADDR=f"192.0.2.{number}") for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert answers[-1].json()["code"] == "rate_limited"
    assert answers[-1]["Retry-After"] == "1"
