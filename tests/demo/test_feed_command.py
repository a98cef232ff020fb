"""`manage.py feed`: demo/management/commands/feed.py."""

import os
import signal

import pytest
from django.core.management import CommandError, call_command

import realtime


@pytest.fixture
def set_apublish(monkeypatch):
    """Puts another function in the place of `realtime.apublish`."""
    return lambda function: monkeypatch.setitem(vars(realtime), "apublish", function)


def test_where_nobody_could_hear_it_the_command_says_why(set_apublish):
    async def apublish(topic, data, *, id=None):
        raise realtime.errors.NotRunning("set REDIS_URL")

    set_apublish(apublish)
    with pytest.raises(CommandError, match="set REDIS_URL"):
        call_command("feed", interval=0.01)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(set_apublish, signum):
    topics = []

    async def apublish(topic, data, *, id=None):
        topics.append(topic)
        os.kill(os.getpid(), signum)

    set_apublish(apublish)
    call_command("feed", interval=0.01)
    assert "stats:host.cpu" in topics


@pytest.mark.parametrize("interval", ["0", "2", "soon"])
def test_an_interval_out_of_range_is_refused(interval):
    with pytest.raises(CommandError, match="--interval"):
        call_command("feed", f"--interval={interval}")
