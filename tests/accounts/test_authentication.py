"""Bearer tokens over REST."""

from typing import Any

import pytest
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from accounts.authentication import AccessTokenAuthentication
from accounts.models import SignIn
from realtime import Identity, errors


def authenticate(header: str | None) -> Any:
    headers = {} if header is None else {"HTTP_AUTHORIZATION": header}
    request = Request(APIRequestFactory().get("/", **headers))
    return AccessTokenAuthentication().authenticate(request)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_good_token_gives_user_and_identity(scheme: str, forge: Any, sign_in: SignIn) -> None:
    user, identity = authenticate(f"{scheme} {forge()}")
    assert user == sign_in.user
    assert isinstance(identity, Identity)
    assert identity.sid == str(sign_in.sid)


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic YTpi", 'Digest username="a", uri="/"', "Negotiate YII=", "Bearerx y"],
)
def test_another_scheme_is_left_to_others(header: str | None) -> None:
    assert authenticate(header) is None


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Bearer x", "Bearer é", "Bearer: x"])
def test_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        authenticate(header)
    assert caught.value.get_codes() == "invalid_token"
    assert isinstance(caught.value.__cause__, errors.InvalidToken)


@pytest.mark.parametrize("header", ["Basic YTpi,Bearer {}", "Bearer {},Basic YTpi"])
def test_a_token_is_found_beside_another_scheme_where_headers_were_joined(
    header: str, forge: Any, sign_in: SignIn
) -> None:
    user, _ = authenticate(header.format(forge()))
    assert user == sign_in.user


def test_a_view_answers_401_with_a_challenge() -> None:
    class View(APIView):
        authentication_classes = (AccessTokenAuthentication,)

        def get(self, request: Request) -> Response:
            return Response({})

    response = View.as_view()(APIRequestFactory().get("/", HTTP_AUTHORIZATION="Bearer x"))
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'
