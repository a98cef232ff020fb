"""`manage.py serve`: its options, and what it refuses."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import CommandError
from django.test import override_settings

from realtime.management.commands.serve import Command, choose_loop
from tests.servers import ROOT, Project, start_server


@pytest.mark.parametrize(
    ("options", "loop"), [((), "uvloop"), (("--loop", "asyncio"), "asyncio.unix_events")]
)
def test_the_loop_is_that_of_uvloop_unless_asyncio_is_asked_for(
    project: Project, options: tuple[str, ...], loop: str
) -> None:
    pytest.importorskip("uvloop")
    work = ("--background", "tests.server.work.tell_loop_and_end")
    done = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", "0", *work, *options],
        cwd=ROOT,
        env=project.full_environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{loop}\n"


def test_a_machine_without_uvloop_has_the_loop_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    policies: list[Any] = []
    monkeypatch.setattr(asyncio, "set_event_loop_policy", policies.append)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    choose_loop("auto")
    assert policies == []
    with pytest.raises(CommandError, match="uvloop is not installed"):
        choose_loop("uvloop")


def test_hundreds_may_connect_while_the_server_is_busy(project: Project) -> None:
    server = start_server(project, "serve")
    psutil.Process(server.process.pid).suspend()
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                client = stack.enter_context(socket.socket())
                client.settimeout(15)
                client.connect(("127.0.0.1", server.port))
    finally:
        psutil.Process(server.process.pid).resume()
        assert server.stop() == 0


def test_several_processes_without_redis_are_refused_with_the_mend(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit:
        Command().run_from_argv(["manage.py", "serve", "--processes", "2"])
    assert exit.value.code == 1
    error = capsys.readouterr().err
    assert "--processes 2 needs Redis" in error
    assert "set REDIS_URL" in error


@pytest.mark.parametrize("option", ["--proxy-headers", "--proxy-headers-host=X-Real-IP"])
def test_headers_that_a_client_can_write_are_not_believed(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as exit:
        Command().run_from_argv(["manage.py", "serve", option])
    assert exit.value.code == 1
    assert "set TRUSTED_PROXIES" in capsys.readouterr().err


@override_settings(REALTIME={"REDIS_URL": "redis://127.0.0.1:1/0"})
def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(CommandError, match=rf"cannot listen: .*in use.*{port}"):
            Command().serve(["--processes", "2", "--port", port])


@override_settings(REALTIME={"REDIS_URL": "redis://127.0.0.1:1/0"})
def test_a_unix_socket_in_use_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(CommandError, match=rf"cannot listen: .*in use.*{path}"):
            Command().serve(["--processes", "2", "--unix-socket", str(path)])
    assert path.exists()


@override_settings(REALTIME={"REDIS_URL": "redis://127.0.0.1:1/0"})
def test_endpoints_of_twisted_cannot_be_shared() -> None:
    with pytest.raises(CommandError, match="leave TLS to a proxy"):
        Command().serve(["--processes", "2", "--endpoint", "ssl:8443"])


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5"])
def test_a_count_of_processes_that_is_none_is_refused(
    count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        Command().serve([f"--processes={count}"])
    assert f"{count!r} is not a whole number above 0" in capsys.readouterr().err
