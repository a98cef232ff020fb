"""The project's settings with namespaces, processors and array sources that tests need."""

import numpy as np
from django.contrib.auth import get_user_model

from project.settings import *  # noqa: F403
from project.settings import REALTIME
from realtime import errors
from realtime.sources import array_source

REALTIME = {
    **REALTIME,
    "NAMESPACES": {
        "ticks": {"kind": "stats", "history_size": 5, "window": "3", "slow": "latest"},
        "narrow": {"kind": "stats", "history_bytes": 400},
        "brief": {"kind": "stats", "history_ttl": 0.5, "window": "10s"},
        "readings": {"kind": "stats", "processor": "tests.stats_settings.process"},
        "notes": {"kind": "broadcast", "processor": "tests.stats_settings.process"},
        "tables": {"kind": "broadcast", "processor": "tests.stats_settings.look_up"},
        "images": {"kind": "binary", "processor": "tests.stats_settings.process"},
        "files": {
            "kind": "binary",
            "format": "any",
            "processor": "tests.stats_settings.process",
        },
        "locked": {"kind": "binary", "publish": "staff"},
        "notices": {"kind": "broadcast", "publish": "staff"},
        "open": {"kind": "broadcast", "publish": "anyone", "subscribe": "anyone"},
    },
}

RESULTS = {"object": object(), "nothing": None, "number": 7, "text": "text", "bytes": b"junk"}


async def process(data, *, topic, user):
    """Do what the data says: refuse, crash, return something odd, or change it."""
    match data:
        case np.ndarray():
            return _process_array(data)
        case bytes():
            return _process_bytes(data)
        case {"do": "refuse"}:
            raise errors.Rejected("not on a Sunday")
        case {"do": "crash"}:
            raise RuntimeError("a secret of the server")
        case {"do": kind}:
            return RESULTS[kind]
        case {"value": value}:
            return {"value": value * 2}
    return {**data, "topic": topic, "user": user.get_username()}


def look_up(data, *, topic, user):
    """A sync processor: it runs in a thread, where the database can be used."""
    if data == {"do": "refuse"}:
        raise errors.Rejected("not on a Sunday")
    if data == {"do": "crash"}:
        raise RuntimeError("a secret of the server")
    return {**data, "email": get_user_model().objects.get(pk=user.pk).email}


def _process_array(array):
    match array.tolist():
        case [-1]:
            raise errors.Rejected("no -1 here")
        case [-2]:
            raise RuntimeError("a secret of the server")
        case [-3]:
            return np.array([object()])
        case [-4]:
            return b"junk"
        case [-5]:
            return None
        case [-6]:
            return array
    return array.astype(np.float32).T * 2


def _process_bytes(data):
    try:
        return RESULTS[data.decode()]
    except (KeyError, UnicodeError):
        return bytearray(data[::-1])


@array_source("refusing")
def refuse(shape, dtype):
    raise errors.InvalidMessage("this source makes squares only")


@array_source("broken")
def break_down(shape, dtype):
    raise RuntimeError("a secret of the server")


@array_source("odd")
def make_another(shape, dtype):
    return np.zeros(3, np.int8)


@array_source("listing")
def make_list(shape, dtype):
    return np.zeros(shape, dtype).tolist()


@array_source("nothing")
def make_nothing(shape, dtype):
    return None
