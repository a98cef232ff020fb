"""Tokens that no server should take, shown to a real one in every way there is.

The server signs with RS256 and still accepts an ES256 key. Each attack is tried as an access token
over REST, in the three ways over WebSocket, and as a refresh token. What the server logs, down to
DEBUG, is searched for all of it at the end: tests here run in the order of this file.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from accounts.keys import build_key
from tests.accounts.test_keys import write_pem, write_public
from tests.clients import Client, open_client
from tests.servers import Project, Server, start_server

KEY = rsa.generate_private_key(65537, 2048)
PREVIOUS = ec.generate_private_key(ec.SECP256R1())
THIEF = rsa.generate_private_key(65537, 2048)
KID = build_key(write_pem(KEY), "RS256", name="it").kid
PREVIOUS_KID = build_key(write_pem(PREVIOUS), "ES256", name="it").kid

PASSWORDS = ("a right password, quite long", "a wrong password, just as long")
MAKE_PEOPLE = f"""
import json
from accounts.models import SignIn, User
from accounts.tokens import issue_access_token
from django.utils import timezone

tokens = {{}}
for name in ("ada", "bob", "deleted", "inactive", "revoked", "renewed"):
    user = User.objects.create_superuser(name, password={PASSWORDS[0]!r})
    tokens[name] = issue_access_token(user=user)
User.objects.get(username="deleted").delete()
User.objects.filter(username="inactive").update(is_active=False)
SignIn.objects.filter(user__username="revoked").update(revoked_at=timezone.now())
user = User.objects.get(username="renewed")
user.set_password({PASSWORDS[0]!r})
user.save()
print(json.dumps(tokens))
"""

PATIENCE = 30.0  # seconds, with what is only slow
PATIENT: dict[str, Any] = {"open_timeout": PATIENCE, "ping_interval": None}
# Where there is no TLS, `verify=False` saves 30 ms: no client reads certificates.

Claims = dict[str, Any]
Forge = Callable[["Target", Claims], str]


@dataclass
class Target:
    """The server, good claims by username, and all that was shown to it."""

    server: Server
    people: dict[str, Claims]
    shown: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def target(make_project: Callable[..., Project]) -> Iterator[Target]:
    project = make_project(
        JWT_ALGORITHM="RS256",
        JWT_SIGNING_KEY=write_pem(KEY).replace("\n", "\\n"),
        JWT_PREVIOUS_ALGORITHM="ES256",
        JWT_PREVIOUS_KEY=write_pem(PREVIOUS).replace("\n", "\\n"),
        JWT_PREVIOUS_KEY_UNTIL="2999-01-01",
        LOG_LEVEL="DEBUG",
        PYTHONUNBUFFERED="1",
        SIGN_IN_FAILURE_RATE="1000/min",
    )
    printed = project.manage("shell", "-v", "0", "-c", MAKE_PEOPLE)
    tokens = json.loads(printed.splitlines()[-1])
    people = {
        name: jwt.decode(token, options={"verify_signature": False})
        for name, token in tokens.items()
    }
    server = start_server(project, "serve")
    target = Target(server, people, list(tokens.values()))
    yield target
    server.stop()


def encode(part: Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(claims: Claims, key: Any = KEY, algorithm: str = "RS256", **headers: Any) -> str:
    """A token; with kid=None it names no key."""
    headers = {"kid": KID, **headers}
    headers = {name: value for name, value in headers.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers=headers)


def sign_by_hand(claims: Claims, secret: bytes, **header: Any) -> str:
    """HS256 with any secret and any header, which PyJWT would not write."""
    text = f"{encode({'alg': 'HS256', 'typ': 'JWT', 'kid': KID, **header})}.{encode(claims)}"
    return f"{text}.{encode(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def unsigned(alg: str) -> Forge:
    return lambda _, claims: f"{encode({'alg': alg, 'kid': KID})}.{encode(claims)}."


def changed(**changes: Any) -> Forge:
    return lambda _, claims: sign({**claims, **changes})


def without(name: str) -> Forge:
    return lambda _, claims: sign({k: v for k, v in claims.items() if k != name})


def of_person(name: str) -> Forge:
    """The token of somebody else, in order but for what became of that one."""
    return lambda target, claims: sign(
        {**claims, **{k: target.people[name][k] for k in ("sid", "user_id", "ver")}}
    )


def with_kid(kid: Any) -> Forge:
    """An unknown key, by whose name a careless server would find an empty file or nothing."""
    return lambda _, claims: sign_by_hand(claims, b"", kid=kid)


def injected(**headers: Any) -> Forge:
    """Signed by a thief, who sends his key along."""
    return lambda _, claims: sign(claims, THIEF, **headers)


def flip_type(_: Target, claims: Claims) -> str:
    other = {"access": "refresh", "refresh": "access"}[claims["token_type"]]
    return sign({**claims, "token_type": other})


# Tests run long after this module is read.
NOW = int(time.time())
FUTURE = NOW + 24 * 3600
THIEFS_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(THIEF.public_key(), as_dict=True)
PUBLIC = write_public(KEY)

ATTACKS: dict[str, Forge] = {
    **{f"alg {alg!r}": unsigned(alg) for alg in ("none", "None", "NONE", "nOnE", "")},
    "no signature": lambda _, claims: sign(claims).rpartition(".")[0] + ".",
    "the public key as a secret": lambda _, claims: sign_by_hand(claims, PUBLIC.encode()),
    "the public key stripped": lambda _, claims: sign_by_hand(claims, PUBLIC.strip().encode()),
    "another algorithm of the key": lambda _, claims: sign(claims, algorithm="PS256"),
    "a key of one's own": lambda _, claims: sign(claims, THIEF),
    "the name of the other key": lambda _, claims: sign(claims, kid=PREVIOUS_KID),
    "another issuer": changed(iss="elsewhere"),
    "another audience": changed(aud="elsewhere"),
    "several audiences": changed(aud=["elsewhere", "other"]),
    **{
        f"without {name}": without(name)
        for name in ("token_type", "jti", "iat", "exp", "iss", "aud", "user_id", "sid", "ver")
    },
    "the other type": flip_type,
    "a type of no kind": changed(token_type="sliding"),
    "not yet valid": changed(nbf=FUTURE),
    "from the future": changed(iat=FUTURE),
    "an expiry that is no number": changed(exp="tomorrow"),
    "an expiry that has no date": changed(exp=253_402_300_800),
    "no kid, and the other key": lambda _, claims: sign(claims, PREVIOUS, "ES256", kid=None),
    "an unknown kid": lambda _, claims: sign(claims, kid="another"),
    "a kid that is a path": with_kid("../../../../../../dev/null"),
    "a kid that is SQL": with_kid("x' UNION SELECT '' --"),
    "an empty kid": with_kid(""),
    **{f"a kid of {type(kid)}": with_kid(kid) for kid in (None, 7, True, [KID], {"a": KID})},
    "jwk": injected(jwk=THIEFS_JWK),
    "jwk without kid": injected(jwk=THIEFS_JWK, kid=None),
    "jku": injected(jku="http://127.0.0.1:9/keys.json"),
    "x5u": injected(x5u="http://127.0.0.1:9/certificate.pem"),
    "x5c": injected(x5c=["bm90IGEgY2VydGlmaWNhdGU="]),
    "an extension that must be understood": lambda _, claims: sign(claims, crit=["exp"], exp=NOW),
    "a deleted user": of_person("deleted"),
    "an inactive user": of_person("inactive"),
    "a revoked sign-in": of_person("revoked"),
    "from before a new password": of_person("renewed"),
    "another user's sign-in": lambda target, claims: sign(
        {**claims, "sid": target.people["bob"]["sid"]}
    ),
    "another user": lambda target, claims: sign(
        {**claims, "user_id": target.people["bob"]["user_id"]}
    ),
    "a sign-in that never was": changed(sid=str(uuid4())),
    "garbage": lambda _, claims: "garbage-of-some-length.garbage-of-some-length.garbage",
    "one part": lambda _, claims: encode(claims),
    "five parts": lambda _, claims: ".".join([encode(claims)] * 5),
    "a changed payload": lambda _, claims: ".".join(
        [(parts := sign(claims).split("."))[0], encode({**claims, "ver": 9}), parts[2]]
    ),
    "longer than 8 KiB": changed(filler="x" * 9000),
}
WAYS = ("header", "subprotocol", "message")


def make_claims(target: Target, token_type: str) -> Claims:
    """Claims of ada's that a good token has."""
    return {**target.people["ada"], "token_type": token_type, "jti": uuid4().hex}


async def knock(target: Target, way: str, token: str) -> tuple[int, list[Any]]:
    """Open a WebSocket with a token; the close code, or the status of a refusal over HTTP."""
    target.shown.append(token)
    url = f"{target.server.ws}/ws/broadcast/attacks/"
    options: dict[str, Any] = {}
    if way == "header":
        options["additional_headers"] = {"Authorization": f"Bearer {token}"}
    elif way == "odd subprotocol":  # one that the library would not offer
        offer = {"Sec-WebSocket-Protocol": f"realtime.bearer.{token}"}
        options["additional_headers"] = offer
    elif way == "subprotocol":
        options["subprotocols"] = ["realtime.v1", f"realtime.bearer.{token}"]
    try:
        async with connect(url, compression=None, **PATIENT, **options) as connection:
            client = Client(connection)
            if way == "message":
                await client.send({"type": "authenticate", "token": token})
            return await client.wait_closed()
    except InvalidHandshake as error:
        return getattr(getattr(error, "response", None), "status_code", 0), []
    except (ConnectionClosed, EOFError, OSError):
        return 1006, []


def call(target: Target, token: str) -> httpx.Response:
    """A REST call with an access token."""
    target.shown.append(token)
    return httpx.get(
        f"{target.server.http}/api/topics/broadcast:attacks/publications/",
        headers={"Authorization": f"Bearer {token}".encode()},
        timeout=PATIENCE,
        verify=False,
    )


def post(target: Target, path: str, **body: str) -> httpx.Response:
    """A call of a token endpoint."""
    target.shown.extend(body.values())
    return httpx.post(f"{target.server.http}/api/{path}", json=body, timeout=PATIENCE, verify=False)


def assert_refused(response: httpx.Response) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (401, "invalid_token"), response.text
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_good_tokens_are_taken_so_that_what_follows_means_something(target: Target) -> None:
    for key, algorithm, kid in (
        (KEY, "RS256", KID),
        (KEY, "RS256", None),
        (PREVIOUS, "ES256", PREVIOUS_KID),
    ):
        token = sign(make_claims(target, "access"), key, algorithm, kid=kid)
        assert call(target, token).status_code == 200
        assert post(target, "token/verify/", token=token).status_code == 200
        async with open_client(f"{target.server.ws}/ws/broadcast/attacks/", token) as client:
            assert (await client.receive_type("hello"))["user"] == "ada"
        refresh = sign(make_claims(target, "refresh"), key, algorithm, kid=kid)
        response = post(target, "token/refresh/", refresh=refresh)
        assert response.status_code == 200
        assert jwt.get_unverified_header(response.json()["access"])["kid"] == KID
        target.shown.extend(response.json().values())


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_bad_token_is_refused_wherever_it_is_shown(target: Target, attack: str) -> None:
    access = ATTACKS[attack](target, make_claims(target, "access"))
    assert_refused(call(target, access))
    assert_refused(post(target, "token/verify/", token=access))
    closes = await asyncio.gather(*(knock(target, way, access) for way in WAYS))
    # Of a first message 8 KiB are read; what is longer is no credential.
    message = 1009 if attack == "longer than 8 KiB" else 4502
    assert [code for code, _ in closes] == [4502, 4502, message]
    assert not any(message["type"] == "hello" for _, said in closes for message in said)
    refresh = ATTACKS[attack](target, make_claims(target, "refresh"))
    assert_refused(post(target, "token/refresh/", refresh=refresh))


async def test_an_expired_token_is_told_apart_where_all_else_is_right(target: Target) -> None:
    expired = sign({**make_claims(target, "access"), "exp": NOW - 1})
    assert_refused(call(target, expired))
    assert [(await knock(target, way, expired))[0] for way in WAYS] == [4001] * 3
    refresh = sign({**make_claims(target, "refresh"), "exp": NOW - 1})
    assert_refused(post(target, "token/refresh/", refresh=refresh))
    both = sign({**make_claims(target, "access"), "exp": NOW - 1, "aud": "elsewhere"})
    assert [(await knock(target, way, both))[0] for way in WAYS] == [4502] * 3


@pytest.mark.parametrize("size", [9_000, 1_000_000])
async def test_a_token_of_any_length_is_refused(target: Target, size: int) -> None:
    token = sign(make_claims(target, "access"))
    token += "x" * (size - len(token))
    for response in (
        post(target, "token/refresh/", refresh=token),
        post(target, "token/verify/", token=token),
    ):
        if size == 9_000:
            assert_refused(response)
        else:
            assert (response.status_code, response.json()["code"]) == (413, "message_too_big")
    codes = [(await knock(target, way, token))[0] for way in WAYS]
    if size == 9_000:
        assert codes == [4502, 4502, 1009]
    else:  # HTTP allows no such header
        assert codes[0] in (0, 400, 413, 431, 1006)
        assert codes[1] in (0, 400, 413, 431, 1006)
        assert codes[2] in (1006, 1009)
    assert call(target, sign(make_claims(target, "access"))).status_code == 200


@pytest.mark.parametrize("token", ["", " ", "é", "tökén-of-some-length.é.é", "a b"])
async def test_what_is_no_token_at_all_is_refused(target: Target, token: str) -> None:
    if token.strip():
        assert_refused(call(target, token))
    assert post(target, "token/refresh/", refresh=token).status_code in (400, 401)
    code, _ = await knock(target, "message", token)
    assert code in (4501, 4502)
    code, said = await knock(target, "odd subprotocol", token)
    assert code in (400, 4502)
    assert said == []


async def test_two_authorization_headers_are_refused_although_both_are_good(
    target: Target,
) -> None:
    token = sign(make_claims(target, "access"))
    target.shown.append(token)
    headers = [("Authorization", f"Bearer {token}")] * 2
    url = f"{target.server.ws}/ws/broadcast/attacks/"
    async with connect(url, additional_headers=headers, **PATIENT) as connection:
        assert await Client(connection).wait_closed() == (4502, [])
    response = httpx.get(
        f"{target.server.http}/api/topics/broadcast:attacks/publications/",
        headers=headers,
        timeout=PATIENCE,
        verify=False,
    )
    assert_refused(response)


@pytest.mark.parametrize("name", ["token", "access_token", "jwt"])
async def test_a_token_in_the_query_is_refused_unread(target: Target, name: str) -> None:
    token = sign(make_claims(target, "access"))
    target.shown.append(token)
    url = f"{target.server.ws}/ws/broadcast/attacks/?{name}={token}"
    for presented in (None, token):
        async with open_client(url, presented) as client:
            code, said = await client.wait_closed()
            assert (code, [error["code"] for error in said]) == (4502, ["token_in_query"])
    response = httpx.get(
        f"{target.server.http}/api/topics/broadcast:attacks/publications/",
        params={name: token},
        headers={"Authorization": f"Bearer {token}"},
        timeout=PATIENCE,
        verify=False,
    )
    assert (response.status_code, response.json()["code"]) == (400, "token_in_query")


async def test_a_bad_refresh_on_a_session_changes_nothing(target: Target) -> None:
    good = sign(make_claims(target, "access"))
    bad = sign({**make_claims(target, "access"), "aud": "elsewhere"})
    others = ATTACKS["another user's sign-in"](target, make_claims(target, "access"))
    target.shown.extend((good, bad, others))
    async with open_client(f"{target.server.ws}/ws/broadcast/attacks/", good) as client:
        await client.receive_type("subscribed")
        for token in (bad, others, sign(make_claims(target, "refresh")), ""):
            target.shown.append(token)
            await client.send({"type": "refresh", "token": token, "ref": 1})
            assert (await client.receive_type("error"))["code"] == "invalid_token"
        await client.send({"type": "ping", "ref": 2})
        assert (await client.receive_type("pong"))["ref"] == 2


def test_passwords_are_shown_to_every_page_that_takes_one(target: Target) -> None:
    """Not a test by itself: the next one looks for them."""
    for password, status in zip(PASSWORDS, (200, 401), strict=True):
        for path in ("token/", "browser/sign-in/"):
            response = post(target, path, username="ada", password=password)
            assert response.status_code == status
            target.shown.extend(value for value in response.json().values() if status == 200)
            target.shown.extend(response.cookies.values())
        with httpx.Client(
            base_url=target.server.http, follow_redirects=True, timeout=PATIENCE
        ) as admin:
            form = admin.get("/admin/login/")
            token = form.cookies["csrftoken"]
            fields = {"username": "ada", "password": password, "csrfmiddlewaretoken": token}
            page = admin.post("/admin/login/?next=/admin/", data=fields)
            assert ("Log out" in page.text) is (status == 200)


def test_no_log_line_holds_any_part_of_a_token_or_a_password(target: Target) -> None:
    log = target.server.read_log()
    assert "DEBUG" in log
    assert "/ws/broadcast/attacks" in log or "broadcast:attacks" in log
    texts = [text for text in target.shown if isinstance(text, str)]
    parts = {part for text in texts for part in text.split(".") if len(part) > 16}
    assert len(parts) > 200
    assert not [part[:40] for part in parts if part in log]
    assert not [password for password in PASSWORDS if password in log]
    assert "eyJ" not in log  # what every JSON Web Token begins with
    assert "Traceback" not in log
