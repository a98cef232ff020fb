"""What is wrong with keys and rates is said at the start."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accounts.checks import check_keys, check_rates
from tests.accounts.test_keys import OTHER, PEMS, keep, sign_with
from tests.servers import ROOT, Project


def run(project: Project, *command: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=project.full_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_the_defaults_are_fine() -> None:
    assert check_keys() == check_rates() == []


def test_a_wrong_key_is_an_error_with_a_hint(settings: Any) -> None:
    sign_with(settings, "RS256", "no PEM")
    (problem,) = check_keys()
    assert (problem.id, problem.is_serious()) == ("accounts.E001", True)
    assert "tokens.md" in str(problem.hint)


def test_a_previous_key_whose_date_has_passed_is_a_warning(settings: Any) -> None:
    sign_with(settings, "HS256")
    keep(settings, "HS256", OTHER, until="2020-01-01")
    (problem,) = check_keys()
    assert (problem.id, problem.is_serious()) == ("accounts.W001", False)
    keep(settings, "HS256", OTHER)
    assert check_keys() == []


@pytest.mark.parametrize("rate", ["", "10", "ten/min", "10/fortnight", "0/min", "-1/min", "10/"])
def test_a_rate_that_is_none_is_an_error(settings: Any, rate: str) -> None:
    settings.TOKEN_RATES = {"token": rate}
    (problem,) = check_rates()
    assert problem.id == "accounts.E002"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("JWT_ACCESS_SECONDS", "0"), ("JWT_REFRESH_DAYS", "-1"), ("JWT_REUSE_GRACE_SECONDS", "-5")],
)
def test_times_that_make_dead_tokens_stop_the_start(
    tmp_path: Path, variable: str, value: str
) -> None:
    code, output = run(Project(tmp_path, {variable: value}), "manage.py", "check")
    assert code == 1
    assert f"(accounts.E003) {variable} is too small" in output


def test_a_server_whose_key_is_wrong_does_not_start(tmp_path: Path) -> None:
    project = Project(tmp_path, {"JWT_ALGORITHM": "RS256", "JWT_SIGNING_KEY": OTHER})
    code, output = run(project, "manage.py", "check")
    assert code == 1
    assert "accounts.E001" in output
    # Daphne runs no checks.
    code, output = run(project, "-c", "import project.asgi")
    assert code == 1
    assert "JWT_SIGNING_KEY does not fit RS256" in output
    assert OTHER not in output


def test_a_key_comes_from_a_variable_or_a_file_and_not_from_both(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(PEMS["RS"])
    one_line = PEMS["RS"].replace("\n", "\\n")
    previous = {
        "JWT_PREVIOUS_KEY": OTHER,
        "JWT_PREVIOUS_ALGORITHM": "HS256",
        "JWT_PREVIOUS_KEY_UNTIL": "2999-01-01",
    }
    for environment, code in (
        ({"JWT_SIGNING_KEY_FILE": str(file), **previous}, 0),
        ({"JWT_SIGNING_KEY": one_line}, 0),
        ({"JWT_SIGNING_KEY": one_line, "JWT_SIGNING_KEY_FILE": str(file)}, 1),
        ({"JWT_SIGNING_KEY_FILE": str(tmp_path / "missing.pem")}, 1),
    ):
        project = Project(tmp_path, {"JWT_ALGORITHM": "RS256", **environment})
        result, output = run(project, "manage.py", "check")
        assert result == code, output
