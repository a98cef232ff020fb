"""What close codes and error codes mean: section 7 of the protocol."""

from typing import Any

from realtime.api.errors import STATUS
from realtime.core.close_codes import CloseCode
from realtime.core.errors import MISTAKES, ErrorCode


def list_close_codes() -> list[dict[str, Any]]:
    """Every close code, with what a client should do then."""
    return [
        {
            "code": int(code),
            "name": code.name.lower(),
            "meaning": _CLOSES[code],
            "reconnect": not code.final,
            "advice": _ADVICE.get(code, "give up" if code.final else "reconnect"),
        }
        for code in CloseCode
    ]


def list_error_codes() -> list[dict[str, Any]]:
    """Every error code; `status` is HTTP's where REST answers with it.

    `mistake` says that too many of them end a session.
    """
    return [
        {
            "code": str(code),
            "advice": _ERRORS[code],
            "mistake": code in MISTAKES,
            "status": int(STATUS[code]),
        }
        for code in ErrorCode
    ]


_BROKEN = "The connection broke, or was broken."
_FAULT = "A fault in what you sent."
_CLOSES = {
    CloseCode.NORMAL: "Done.",
    CloseCode.GOING_AWAY: "The other side goes away.",
    CloseCode.PROTOCOL_ERROR: f"{_FAULT} It was no WebSocket frame as it has to be.",
    CloseCode.UNSUPPORTED_DATA: f"{_FAULT} Such data is not taken.",
    CloseCode.NO_STATUS: "No code came. It is never sent, only reported.",
    CloseCode.ABNORMAL: f"{_BROKEN} It is never sent, only reported.",
    CloseCode.INVALID_PAYLOAD: f"{_FAULT} A text was no UTF-8.",
    CloseCode.MESSAGE_TOO_BIG: f"{_FAULT} A message was longer than `limits` allow.",
    CloseCode.MANDATORY_EXTENSION: f"{_FAULT} An extension is missing.",
    CloseCode.INTERNAL_ERROR: "The server failed.",
    CloseCode.SERVICE_RESTART: "The server stops or restarts.",
    CloseCode.TRY_AGAIN_LATER: "The server is too busy, or its storage does not answer.",
    CloseCode.SLOW_CONSUMER: "You read too slowly.",
    CloseCode.TOKEN_EXPIRED: "Your token has expired.",
    CloseCode.DISCONNECTED: "An administrator ended the session.",
    CloseCode.RATE_LIMITED: "You kept on sending too fast.",
    CloseCode.CONNECTION_LIMIT: "Too many connections of your user or address.",
    CloseCode.SLOW_SENDER: "A message of yours did not come to its end in time.",
    CloseCode.BAD_REQUEST: "You sent something malformed, or too much of it.",
    CloseCode.AUTHENTICATION_REQUIRED: "No credential came, or not in time.",
    CloseCode.INVALID_TOKEN: "The token is no good.",
    CloseCode.PERMISSION_DENIED: "You may not do this here.",
    CloseCode.UNKNOWN_TOPIC: "There is no such endpoint or namespace.",
    CloseCode.REVOKED: "Signed out, deactivated, or a new password.",
}
_ADVICE = {
    CloseCode.NORMAL: "reconnect only if it was not you who closed",
    CloseCode.SERVICE_RESTART: "reconnect after `retry_after` of the reason",
    CloseCode.TRY_AGAIN_LATER: "reconnect after `retry_after` of the reason",
    CloseCode.SLOW_CONSUMER: "reconnect and recover",
    CloseCode.TOKEN_EXPIRED: "reconnect with a new token; give up if you cannot get one",
    CloseCode.RATE_LIMITED: "reconnect, and send less",
}
_ERRORS = {
    ErrorCode.INVALID_JSON: "Send strict JSON, one object.",
    ErrorCode.INVALID_MESSAGE: "Mend the field that `detail` names.",
    ErrorCode.INVALID_ARRAY: "Send a `.npy` file as described.",
    ErrorCode.INVALID_PARAMETER: "Mend the parameter that `detail` names.",
    ErrorCode.MESSAGE_TOO_BIG: "Send less, or ask for a smaller array.",
    ErrorCode.RATE_LIMITED: "Wait, then repeat: it was not done.",
    ErrorCode.PERMISSION_DENIED: "Ask the operator; do not repeat it.",
    ErrorCode.NOT_SUPPORTED: "This topic or server does not do that; do not repeat it.",
    ErrorCode.NOT_FOUND: "Check the name of the array source.",
    ErrorCode.UNKNOWN_TOPIC: "Check the namespace and the name.",
    ErrorCode.AUTHENTICATION_REQUIRED: "Sign in.",
    ErrorCode.INVALID_TOKEN: "Get a new token.",
    ErrorCode.TOKEN_IN_QUERY: "Take the token out of the URL.",
    ErrorCode.REJECTED: "The operator's own check refused this data.",
    ErrorCode.UNAVAILABLE: "It may or may not be done: repeat it with the same `id`.",
    ErrorCode.INTERNAL: "A fault of the server; report it, repeat later.",
}
