"""Close codes: the table of section 7 of the protocol."""

import ast
from pathlib import Path

import pytest

from realtime.core.close_codes import RESERVED_CODE_SHIFT, CloseCode

SOURCE = Path(__file__).resolve().parents[2] / "realtime"


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009, 1010, *range(4500, 4506)])
def test_a_client_gives_up_after_its_own_mistake(code: int) -> None:
    assert CloseCode(code).final


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1011, 1012, 1013, *range(4000, 4005)])
def test_a_client_comes_back_after_everything_else(code: int) -> None:
    assert not CloseCode(code).final


def test_shifted_codes_lie_where_an_application_may_choose() -> None:
    reserved = [code for code in CloseCode if code < 3000]
    assert all(3000 <= code + RESERVED_CODE_SHIFT < 3100 for code in reserved)


def test_no_other_module_writes_a_close_code_as_a_number() -> None:
    # Two of them are round numbers, which also count other things.
    codes = {int(code) for code in CloseCode} - {1000, 4000}
    strays = [
        f"{path.name}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if path.name != "close_codes.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in codes
    ]
    assert strays == []
