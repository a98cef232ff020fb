"""Credentials of a WebSocket handshake.

Tokens are looked up in other threads, which see what is committed.
"""

import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser

from accounts.metrics import AUTH_FAILURES
from accounts.middleware import TokenMiddleware
from accounts.models import SignIn
from realtime import errors

pytestmark = pytest.mark.django_db(transaction=True)

# The values of Authorization headers that other software brings along.
FOREIGN = [
    [b""],
    [b"Basic YTpi"],
    [b"Negotiate YIIJvwYGKwYBBQUCoIIJ"],
    [b'Digest username="a, Bearer b", realm="r", uri="/ws/", nc=00000001, response="6629"'],
    [b"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"],
    [b"Bearerx y"],
    [b"Basic YTpi", b"Negotiate YII="],
]


def handshake(*, authorization: list[bytes] | None = None, offered: list[str] | None = None) -> Any:
    headers = [(b"host", b"testserver")]
    headers += [(b"authorization", value) for value in authorization or []]
    if offered:
        headers.append((b"sec-websocket-protocol", ", ".join(offered).encode()))
    return {
        "type": "websocket",
        "path": "/ws/echo/",
        "query_string": b"token=left-alone",
        "headers": headers,
        "subprotocols": offered or [],
    }


def pass_through(scope: Any) -> Any:
    """The scope as the application behind the middleware sees it."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    async def unused(*_: Any) -> Any:
        pytest.fail("the middleware neither receives nor sends")

    async_to_sync(TokenMiddleware(app))(scope, unused, unused)
    (only,) = seen
    return only


def count_refusals(reason: str) -> float:
    counted: float = AUTH_FAILURES.labels("websocket", reason)._value.get()
    return counted


def assert_signed_in(scope: Any, sign_in: SignIn) -> None:
    identity = async_to_sync(scope["identify"])()
    assert (identity.user, identity.sid) == (sign_in.user, str(sign_in.sid))


def assert_refused(scope: Any, error: type[errors.CodedError]) -> None:
    reason = "expired" if error is errors.TokenExpired else "invalid"
    before = count_refusals(reason)
    with pytest.raises(errors.CodedError) as caught:
        async_to_sync(scope["identify"])()
    assert type(caught.value) is error
    assert count_refusals(reason) == before + 1


def test_a_bearer_header_signs_in(forge: Any, sign_in: SignIn) -> None:
    assert_signed_in(
        pass_through(handshake(authorization=[b"bearer " + forge().encode()])), sign_in
    )


def test_a_bearer_subprotocol_signs_in(forge: Any, sign_in: SignIn) -> None:
    offered = ["realtime.v1", f"realtime.bearer.{forge()}"]
    assert_signed_in(pass_through(handshake(offered=offered)), sign_in)


def test_no_credential_is_anonymous_without_an_error() -> None:
    scope = pass_through(handshake(offered=["realtime.v1"]))
    assert isinstance(scope["user"], AnonymousUser)
    assert async_to_sync(scope["identify"])() is None


def test_no_credential_is_looked_at_before_the_consumer_asks() -> None:
    before = count_refusals("invalid")
    pass_through(handshake(authorization=[b"Bearer garbage"]))
    pass_through(handshake(authorization=[b"Basic YTpi"]))
    assert count_refusals("invalid") == before


def test_no_credential_is_left_in_the_scope(forge: Any) -> None:
    token = forge()
    offered = ["realtime.v1", f"realtime.bearer.{token}", "other", "realtime.bearer.two"]
    given = handshake(authorization=[f"Bearer {token}".encode()], offered=offered)
    scope = pass_through(given)
    assert token not in str(scope)
    assert scope["subprotocols"] == ["realtime.v1", "other"]
    assert scope["headers"] == [
        (b"host", b"testserver"),
        (b"sec-websocket-protocol", b"realtime.v1, other"),
    ]
    assert scope["query_string"] == b"token=left-alone"
    assert token not in str(given), "the server's own scope would keep it as long"


def test_a_header_that_offered_a_credential_alone_is_dropped(forge: Any) -> None:
    scope = pass_through(handshake(offered=[f"realtime.bearer.{forge()}"]))
    assert scope["subprotocols"] == []
    assert scope["headers"] == [(b"host", b"testserver")]


def test_credentials_are_taken_out_of_each_of_several_headers(forge: Any) -> None:
    given = handshake(offered=[f"realtime.bearer.{forge()}"])
    given["headers"].append((b"sec-websocket-protocol", b"realtime.bearer.x,realtime.v1"))
    scope = pass_through(given)
    assert scope["headers"][1:] == [(b"sec-websocket-protocol", b"realtime.v1")]


def test_an_expired_token_is_told_apart(forge: Any) -> None:
    token = forge(exp=int(time.time()) - 1)
    scope = pass_through(handshake(offered=[f"realtime.bearer.{token}"]))
    assert_refused(scope, errors.TokenExpired)


@pytest.mark.parametrize(
    "authorization",
    [
        [b"Bearer"],
        [b"Bearer "],
        [b"Bearer:"],
        [b"Bearer a b"],
        [b"Bearer a,b"],
        [b"Bearer \xff"],
        [b"Basic YTpi", b"Bearer"],
        [b"Basic YTpi,Bearer"],
    ],
    ids=str,
)
def test_a_malformed_bearer_header_is_an_error_and_a_good_subprotocol_does_not_mend_it(
    authorization: list[bytes], forge: Any
) -> None:
    offered = [f"realtime.bearer.{forge()}"]
    scope = pass_through(handshake(authorization=authorization, offered=offered))
    assert_refused(scope, errors.InvalidToken)


@pytest.mark.parametrize("authorization", FOREIGN, ids=str)
def test_a_foreign_scheme_is_no_credential(
    authorization: list[bytes], forge: Any, sign_in: SignIn
) -> None:
    offered = ["realtime.v1", f"realtime.bearer.{forge()}"]
    assert_signed_in(pass_through(handshake(authorization=authorization, offered=offered)), sign_in)
    assert async_to_sync(pass_through(handshake(authorization=authorization))["identify"])() is None
    header = b"Bearer " + forge().encode()
    for several in ([*authorization, header], [header, *authorization]):
        assert_signed_in(pass_through(handshake(authorization=several)), sign_in)


def test_a_bad_bearer_subprotocol_beside_a_foreign_scheme_is_an_error() -> None:
    given = handshake(authorization=[b"Basic YTpi"], offered=["realtime.bearer.garbage"])
    assert_refused(pass_through(given), errors.InvalidToken)


def test_two_bearer_headers_are_an_error(forge: Any) -> None:
    header = b"Bearer " + forge().encode()
    assert_refused(pass_through(handshake(authorization=[header, header])), errors.InvalidToken)


def test_an_empty_bearer_subprotocol_is_an_error(forge: Any) -> None:
    offered = ["realtime.bearer.", f"realtime.bearer.{forge()}"]
    assert_refused(pass_through(handshake(offered=offered)), errors.InvalidToken)


def test_a_token_that_comes_later_can_be_authenticated(forge: Any, sign_in: SignIn) -> None:
    authenticate = async_to_sync(pass_through(handshake())["authenticate"])
    assert authenticate(forge()).user == sign_in.user
    with pytest.raises(errors.TokenExpired):
        authenticate(forge(exp=int(time.time()) - 1))
    with pytest.raises(errors.InvalidToken):
        authenticate("garbage")


def test_other_scopes_pass_untouched() -> None:
    scope = {"type": "http", "headers": [(b"authorization", b"Bearer x")]}
    assert pass_through(scope) is scope
