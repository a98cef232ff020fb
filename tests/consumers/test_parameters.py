"""The query parameters of an endpoint, by themselves."""

import pytest

from realtime.conf import Namespace
from realtime.consumers.parameters import Parameters, parse_parameters
from realtime.core.errors import InvalidParameter
from realtime.core.positions import Position
from realtime.core.queries import read_query
from realtime.core.windows import Window

BROADCAST = Namespace(kind="broadcast")
STATS = Namespace(kind="stats", window="5m")
BINARY = Namespace(kind="binary")


def parse(query: str, namespace: Namespace = BROADCAST) -> Parameters:
    return parse_parameters(read_query(query.encode()), namespace)


def test_without_parameters_a_session_subscribes_from_now_on() -> None:
    assert parse("") == Parameters(window=Window(100, None, "100"))
    assert parse("", STATS).window == Window(None, 300.0, "5m")


def test_every_parameter_of_a_kind_is_read() -> None:
    assert parse("epoch=e&offset=0&history=7&subscribe=1") == Parameters(
        window=Window(100, None, "100"), recover=Position("e", 0), history=7
    )
    assert parse("subscribe=0").subscribes is False
    parameters = parse("window=20&fields=rate,sum&interval=0.5", STATS)
    assert parameters.window == Window(20, None, "20")
    assert parameters.fields == ("sum", "rate")
    assert parameters.interval == 0.5
    assert parse("interval=3600&history=1", BINARY).interval == 3600


@pytest.mark.parametrize(
    ("namespace", "names"),
    [
        (BROADCAST, {"epoch", "offset", "subscribe", "history"}),
        (STATS, {"epoch", "offset", "subscribe", "window", "fields", "interval"}),
        (BINARY, {"epoch", "offset", "subscribe", "history", "interval"}),
    ],
)
def test_what_another_kind_takes_is_unknown_here(namespace: Namespace, names: set[str]) -> None:
    examples = {
        "epoch": "epoch=e&offset=1",
        "offset": "epoch=e&offset=1",
        "subscribe": "subscribe=1",
        "history": "history=1",
        "window": "window=10",
        "fields": "fields=sum",
        "interval": "interval=1",
    }
    for name, query in examples.items():
        if name in names:
            parse(query, namespace)
        else:
            with pytest.raises(InvalidParameter, match=f"^{name}: no such parameter"):
                parse(query, namespace)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("epoch=e", "offset"),
        ("offset=1", "epoch"),
        ("epoch=&offset=1", "epoch"),
        (f"epoch={'e' * 65}&offset=1", "epoch"),
        ("epoch=e&offset=", "offset"),
        ("epoch=e&offset=-1", "offset"),
        ("epoch=e&offset=%2B1", "offset"),
        ("epoch=e&offset=1e3", "offset"),
        ("epoch=e&offset=1_0", "offset"),
        ("epoch=e&offset=+1", "offset"),
        ("epoch=e&offset=%D9%A3", "offset"),
        ("epoch=e&offset=1%0A", "offset"),
        (f"epoch=e&offset={'9' * 16}", "offset"),
        ("history=-1", "history"),
        ("history=all", "history"),
        ("subscribe=", "subscribe"),
        ("subscribe=false", "subscribe"),
        ("subscribe=0&epoch=e&offset=1", "subscribe"),
        ("subscribe=0&history=0", "subscribe"),
        ("Epoch=e&offset=1", "Epoch"),
    ],
)
def test_a_malformed_parameter_is_named(query: str, named: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^{named}"):
        parse(query)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("window=0", "window"),
        ("window=5d", "window"),
        ("fields=sum,colour", "fields"),
        ("fields=sum,sum", "fields"),
        ("interval=-1", "interval"),
        ("interval=nan", "interval"),
        ("interval=inf", "interval"),
        ("interval=1e3", "interval"),
        ("interval=.5", "interval"),
        ("interval=3600.1", "interval"),
        ("interval=", "interval"),
    ],
)
def test_a_malformed_parameter_of_statistics_is_named(query: str, named: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^{named}"):
        parse(query, STATS)
