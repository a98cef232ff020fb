"""A real-time data server for Django.

    from realtime import publish
    publish("broadcast:lobby", {"text": "hello"})

The names below are all that other code needs; they load when first used, so that this package
can be imported before Django is ready.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realtime import errors
    from realtime.api.views import RestView
    from realtime.audit import acting_as
    from realtime.control import adisconnect, arecheck, disconnect, recheck
    from realtime.core.close_codes import CloseCode
    from realtime.core.identity import Identity
    from realtime.core.positions import Position
    from realtime.publishing import apublish, publish
    from realtime.sources import array_source

__all__ = [
    "CloseCode",
    "Identity",
    "Position",
    "RestView",
    "acting_as",
    "adisconnect",
    "apublish",
    "arecheck",
    "array_source",
    "disconnect",
    "errors",
    "publish",
    "recheck",
]

_HOMES = {
    "CloseCode": "realtime.core.close_codes",
    "Identity": "realtime.core.identity",
    "Position": "realtime.core.positions",
    "RestView": "realtime.api.views",
    "acting_as": "realtime.audit",
    "adisconnect": "realtime.control",
    "apublish": "realtime.publishing",
    "arecheck": "realtime.control",
    "array_source": "realtime.sources",
    "disconnect": "realtime.control",
    "publish": "realtime.publishing",
    "recheck": "realtime.control",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("realtime.errors")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
