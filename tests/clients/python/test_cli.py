"""The command line against the real server."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from realtime_client.cli import main
from tests.servers import ROOT

Url = Callable[[str], str]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, client_token: str) -> None:
    monkeypatch.setenv("REALTIME_TOKEN", client_token)


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_publish_and_tail(url: Url, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", url("broadcast"), '{"n": 1}', '"two"']) == 0
    first, second = read_lines(capsys)
    assert first.startswith("published at ")
    assert second.endswith(":2")
    assert main(["tail", url("broadcast"), "--history", "2", "--count", "2"]) == 0
    assert read_lines(capsys) == ["1 anna: {'n': 1}", "2 anna: two"]
    since = first.removeprefix("published at ")
    assert main(["tail", url("broadcast"), "--since", since, "--count", "1", "--json"]) == 0
    [line] = map(json.loads, read_lines(capsys))
    assert (line["type"], line["data"], line["position"]) == (
        "publication",
        "two",
        second.removeprefix("published at "),
    )


def test_publish_reads_lines_of_json(
    url: Url, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"value": 1}\n\n{"value": 3}\n'))
    assert main(["publish", url("stats"), "--json"]) == 0
    assert [json.loads(line)["offset"] for line in read_lines(capsys)] == [1, 2]
    options = ["--window", "5", "--fields", "median", "--count", "1"]
    assert main(["tail", url("stats"), *options]) == 0
    [line] = read_lines(capsys)
    assert "mean 2" in line
    assert "median 2" in line


def test_files_and_arrays(url: Url, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1.0, np.nan]))
    assert main(["publish", url("arrays"), "--array", str(tmp_path / "a.npy")]) == 0
    assert main(["tail", url("arrays"), "--history", "1", "--count", "1", "--json"]) == 0
    line = json.loads(read_lines(capsys)[-1])
    assert (line["data"], line["dtype"]) == ([1.0, None], "float64")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    picture = ["--file", str(tmp_path / "a.png"), "--format", "image/png"]
    assert main(["publish", url("blobs"), *picture]) == 0
    assert main(["tail", url("blobs"), "--history", "1", "--count", "1"]) == 0
    assert read_lines(capsys)[-1] == "1 anna: image/png, 4 bytes"


def test_request(url: Url, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "made.npy"
    assert main(["request", url("arrays"), "2,3", "--output", str(file), "--json"]) == 0
    assert json.loads(read_lines(capsys)[0]) == {"shape": [2, 3], "dtype": "float64"}
    assert np.load(file).shape == (2, 3)
    assert main(["request", url("arrays"), "2", "--source", "zeros", "--json"]) == 0
    assert json.loads(read_lines(capsys)[0])["data"] == [0.0, 0.0]


def test_ping_and_load(url: Url, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", url("broadcast"), "--count", "2", "--interval", "0", "--json"]) == 0
    assert [json.loads(line)["ms"] > 0 for line in read_lines(capsys)] == [True, True]
    options = ["--connections", "2", "--rate", "200", "--seconds", "0.5", "--json"]
    assert main(["load", url("stats"), *options]) == 0
    [result] = map(json.loads, read_lines(capsys))
    assert (result["confirmed"], result["failed"], result["connections"]) == (100, {}, 2)
    assert 0 < result["p50_ms"] <= result["p99_ms"] <= result["max_ms"]


def test_a_refusal_is_said_on_standard_error(
    url: Url, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["publish", url("notices"), "1"]) == 1
    output = capsys.readouterr()
    assert (output.out, "4503: permission denied" in output.err) == ("", True)
    assert main(["publish", url("broadcast"), "not JSON"]) == 1
    monkeypatch.setenv("REALTIME_TOKEN", "nonsense")
    assert main(["ping", url("broadcast")]) == 1
    assert "4502" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["tail", "ws://a/", "--since", "7"], ["request", "ws://a/", "2,x"], ["dance"], []]
)
def test_a_mistake_in_the_arguments_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_it_runs_as_a_module_without_django_or_numpy(url: Url) -> None:
    """And there is no option for a token, which other users of the machine could read."""
    code = (
        "import sys, runpy; sys.modules['django'] = sys.modules['numpy'] = None\n"
        "sys.argv[1:] = ['publish', sys.argv[1], '1']\n"
        "runpy.run_module('realtime_client', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url("broadcast")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("published at")
    done = subprocess.run(
        [sys.executable, "-m", "realtime_client", "tail", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "--token" not in done.stdout
