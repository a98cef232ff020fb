"""The tree of exceptions."""

import builtins
import re

import pytest

from realtime.core import errors
from realtime.core.errors import CodedError, ErrorCode, RealtimeError

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, RealtimeError)
]


def test_each_code_of_the_protocol_has_an_exception() -> None:
    codes = {cls.code for cls in CLASSES if issubclass(cls, CodedError)}
    assert codes == set(ErrorCode)


def test_each_exception_stands_in_the_drawing_with_the_builtin_it_is_a_kind_of() -> None:
    drawing = errors.__doc__ or ""
    for cls in CLASSES[1:]:
        (line,) = [
            line for line in drawing.splitlines() if re.search(rf"── {cls.__name__}\b", line)
        ]
        kind = re.search(r"\((\w+Error)\)", line)
        if kind is not None:
            assert issubclass(cls, getattr(builtins, kind[1])), line


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, CodedError)])
def test_a_coded_error_says_what_to_change(cls: type[CodedError]) -> None:
    error = cls("send less")
    assert (error.detail, str(error)) == ("send less", "send less")


def test_the_codes_that_end_a_session_are_the_protocol_s() -> None:
    assert {
        code
        for code in ErrorCode
        if code.startswith("invalid_") or code in ("not_supported", "message_too_big")
    } == errors.MISTAKES
