"""Every example of the client's README, run as printed but for the server and the topic's name."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.servers import ROOT, Server

README = (ROOT / "clients" / "python" / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
SCRIPTS = [text for kind, text in BLOCKS if kind == "python"]
EXPECTED = [
    r"1 anna {'text': 'hello'}",
    r"Publication\(.*'order': 17",
    r"3\.0 from anna\n(.|\n)*made by the server\n3 2\.4 3\.0",
    r"\(1, 1\), \(2, 2\)(.*)\(20, 20\)",
    r"\n1\n\[1\. 2\.\]",
]


def move(script: str, server: Server) -> str:
    """The script for this server, on topics that nobody else has written to."""
    script = re.sub(r"(/ws/\w+)/\w+/", rf"\1/{uuid.uuid4().hex}/", script)
    return re.sub(r"wss://example\.org|ws://127\.0\.0\.1:8000", server.ws, script)


def run(command: list[str], server: Server, token: str, folder: Path) -> str:
    done = subprocess.run(
        ["timeout", "120", *command],  # which ends the whole group
        cwd=folder,
        env={
            **os.environ,
            "REALTIME_TOKEN": token,
            "PYTHONPATH": str(ROOT / "clients" / "python"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(EXPECTED)))
def test_a_script_does_what_it_says(
    number: int, client_server: Server, client_token: str, tmp_path: Path
) -> None:
    assert len(SCRIPTS) == len(EXPECTED)
    script = move(SCRIPTS[number], client_server)
    output = run([sys.executable, "-c", script], client_server, client_token, tmp_path)
    assert re.search(EXPECTED[number], output), output


def test_the_shell_commands_do_what_they_say(
    client_server: Server, client_token: str, tmp_path: Path
) -> None:
    script = next(t for k, t in BLOCKS if k == "sh" and "export" in t)
    script = move(script, client_server)
    output = run(["bash", "-euc", script], client_server, client_token, tmp_path)
    for expected in (r"published at \w+:\d+", r'"text": "hello"', r"\d ms", r"confirmed +100"):
        assert re.search(expected, output), output


def test_the_example_of_the_project_does_what_it_says(
    client_server: Server, client_token: str, tmp_path: Path
) -> None:
    """It goes on until it is interrupted; here it ends after the first message."""
    project_readme = (ROOT / "README.md").read_text()
    [script] = re.findall(
        r"```python\n((?:(?!```).)*from realtime_client(?:(?!```).)*)```", project_readme, re.DOTALL
    )
    script = move(script, client_server)
    script = script.replace("print(message)", "print(message); return")
    output = run([sys.executable, "-c", script], client_server, client_token, tmp_path)
    assert "data={'text': 'hello from Python'}" in output
