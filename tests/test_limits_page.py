"""The numbers in `docs/limits.md` and `.env.example` are the defaults, and the sums are right."""

import math
import re
from typing import Any

import msgspec

from realtime.conf import Settings
from realtime.limits import Limit
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "limits.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
DEFAULTS = {
    field.encode_name: field.default
    for field in msgspec.structs.fields(Settings)
    if field.name != "namespaces"
}
# Limits that are no fields of the settings, but variables of Django's.
OTHERS = dict(re.findall(r"^#(LOG_LINES_\w+)=(\d+)$", EXAMPLE, re.MULTILINE))
UNITS = {"KiB": 1024, "MiB": 1024**2}


def read_tables() -> list[list[dict[str, str]]]:
    """The tables of the page: of each row its cells, by the head of their column."""
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        head, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        )
        tables.append([dict(zip(head, row, strict=True)) for row in rows])
    return tables


def read_numbers(text: str) -> list[float]:
    """The numbers of a cell, without what explains them in brackets."""
    plain = re.sub(r"\(.*?\)", "", text)
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?<!,)", plain)]


def test_defaults_in_the_tables_are_those_of_the_settings() -> None:
    seen = set()
    for row in (row for table in read_tables() for row in table if "default" in row):
        names = re.findall(r"`(?:REALTIME_)?(\w+)`", row["setting"])
        shown = read_numbers(row["default"])
        if len(names) > 1:  # one default for each, and no thousands
            shown = [float(part) for part in row["default"].split(", ")]
        for name, number in zip(names, shown, strict=len(names) > 1):
            assert number == float(DEFAULTS.get(name, OTHERS.get(name))), name
            seen.add(name)
    assert len(seen) > 35


def test_the_page_names_no_setting_that_there_is_not() -> None:
    for name in re.findall(r"`REALTIME_(\w+)`", PAGE):
        assert name in DEFAULTS, name


def test_the_page_and_the_counter_have_the_same_limits() -> None:
    column = "`realtime_limited_total{limit=…}`"
    shown = {row[column].strip("`") for table in read_tables() for row in table if column in row}
    shown |= set(re.findall(r'`realtime_limited_total\{limit="(\w+)"\}`', PAGE))
    assert shown - {""} == {str(limit) for limit in Limit} | {"history_per_user"}


def test_what_a_process_can_take_is_added_up_rightly() -> None:
    (table,) = (table for table in read_tables() if "made of" in table[0])
    total = 0
    for row in table:
        mebibytes = int(row["MiB"].strip("*"))
        if row["made of"]:
            assert mebibytes == math.ceil(compute(row["made of"]) / UNITS["MiB"]), row
            total += mebibytes
        else:
            assert mebibytes == total, row
    assert total > 1000


def compute(text: str) -> int:
    """A product, or a maximum, of settings and sizes."""
    if text.startswith("max("):
        return max(compute(part) for part in text.removeprefix("max(").rstrip(")").split(", "))
    product = 1
    for factor in text.split(" × "):
        number, _, unit = factor.strip("`").partition(" ")
        product *= DEFAULTS[number] if number in DEFAULTS else int(number) * UNITS.get(unit, 1)
    return product


def test_the_example_of_the_environment_shows_each_limit_once_with_its_default() -> None:
    shown: list[tuple[str, str]] = re.findall(r"^#REALTIME_(\w+)=(.*)$", EXAMPLE, re.MULTILINE)
    names = [name for name, _ in shown]
    assert len(names) == len(set(names))
    for name, text in shown:
        default: Any = DEFAULTS[name]
        assert text == ("" if default is None else str(default).removesuffix(".0")), name
    settings = {name for name in re.findall(r"`REALTIME_(\w+)`", PAGE) if name in DEFAULTS}
    assert settings - set(names) == set()
