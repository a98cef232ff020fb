"""Addresses of the admin that ask for what cannot be looked up."""

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LISTS = sorted(f"/admin/{m._meta.app_label}/{m._meta.model_name}/" for m in admin.site._registry)
NASTY = [
    *("a\0b", "\ud800", "x" * 10_000, "9" * 30, "9" * 5000, "-1", str(2**63), "99999", "0", ""),
    *("²", "\uffff", "2026-13-45", "{}", "%", "_", "'", '"', "None", "_ZZ", "1,2,x"),
]


@pytest.fixture
def staff(db: None) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(
        get_user_model().objects.create_superuser("root"),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    return client


def encode(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


@pytest.mark.parametrize(
    "address",
    [
        "accounts/user/?date_joined__year=99999",
        f"accounts/user/?last_login__year={'9' * 30}",
        "axes/accessattempt/?attempt_time__year=99999",
        "realtime/session/?address=nowhere",
    ],
)
def test_a_list_that_cannot_be_looked_up_goes_back_to_the_whole_list(
    staff: Client, address: str
) -> None:
    answer = staff.get(f"/admin/{address}", follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain == [(f"/admin/{address.partition('?')[0]}?e=1", 302)]


def test_an_action_on_a_row_whose_key_is_no_key_goes_back_to_the_list(staff: Client) -> None:
    form = {"action": "disconnect_sessions", "_selected_action": "x", "index": "0"}
    answer = staff.post("/admin/realtime/session/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/realtime/session/?e=1")


@pytest.mark.parametrize("nul", ["realtime/session/%00/", "accounts/user/?q=%00", "?%00=1"])
def test_a_nul_is_in_no_path_and_in_no_parameter(staff: Client, nul: str) -> None:
    answer = staff.get(f"/admin/{nul}")
    assert answer.status_code == (400 if "?" in nul else 404)


@pytest.mark.parametrize("address", LISTS)
def test_no_nasty_value_is_a_fault_of_the_server(staff: Client, address: str) -> None:
    names = {"q", "p", "user", "address"}
    for text in map(encode, NASTY):
        for name in names:
            assert staff.get(f"{address}?{name}={text}").status_code < 500, (name, text[:20])
        for tail in ("change/", ""):
            assert staff.get(f"{address}{text}/{tail}").status_code < 500, (tail, text[:20])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nor_is_any_other(staff: Client, data: Any) -> None:
    text = encode(data.draw(st.text(st.characters(), max_size=40)))
    path = data.draw(st.sampled_from(LISTS))
    name = data.draw(st.sampled_from(["q", "p", "user", "topic", "address", "state", "x"]))
    assert staff.get(f"{path}?{name}={text}").status_code < 500
    assert staff.get(f"{path}{text}/change/").status_code < 500
