"""System checks: each names what is wrong and says how to mend it."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from channels.layers import channel_layers
from django.core.checks import CheckMessage

from realtime.checks import check_settings
from tests.servers import ROOT, START_TIMEOUT, Project, RedisServer, find_free_port

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
STRONG = "".join(chr(33 + n % 90) for n in range(64))
OTHER = STRONG[::-1]


@pytest.fixture(autouse=True)
def _fresh_layers() -> Iterator[None]:
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()


def find(id: str) -> CheckMessage:
    """The one message that the checks give."""
    (message,) = check_settings()
    assert message.id == id
    assert message.hint
    return message


def test_the_project_has_nothing_to_mend() -> None:
    assert check_settings() == []


def test_e001_options_are_unknown_or_wrong(settings: Any) -> None:
    settings.REALTIME = {"OUTBOX_BITES": 7}
    assert "OUTBOX_BITES" in find("realtime.E001").msg


def test_e002_the_channel_layer_does_not_exist(settings: Any) -> None:
    settings.REALTIME = {"CHANNEL_LAYER": "fast"}
    message = find("realtime.E002")
    assert "'fast'" in message.msg
    assert "CHANNEL_LAYER" in str(message.hint)


@pytest.mark.parametrize("shares", ["layer", "history"])
def test_e003_layer_and_history_do_not_reach_equally_far(
    settings: Any, redis: RedisServer, shares: str
) -> None:
    if shares == "layer":
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB, "CONFIG": {"hosts": [redis.url]}}}
    else:
        settings.REALTIME = {"REDIS_URL": redis.url}
    assert "REDIS_URL" in str(find("realtime.E003").hint)


def test_e004_statistics_need_a_history(settings: Any) -> None:
    settings.REALTIME = {"NAMESPACES": {"ticks": {"kind": "stats", "history_size": 0}}}
    message = find("realtime.E004")
    assert "'ticks'" in message.msg
    assert "history_size" in str(message.hint)


def test_e005_a_window_is_malformed(settings: Any) -> None:
    settings.REALTIME = {"NAMESPACES": {"ticks": {"kind": "stats", "window": "soon"}}}
    message = find("realtime.E005")
    assert "'ticks'" in message.msg
    assert "60s" in str(message.hint)


@pytest.mark.parametrize("path", ["nowhere.process", "realtime.conf.nothing", "process"])
def test_e006_a_processor_cannot_be_loaded(settings: Any, path: str) -> None:
    settings.REALTIME = {"NAMESPACES": {"ticks": {"kind": "stats", "processor": path}}}
    message = find("realtime.E006")
    assert "'ticks'" in message.msg
    assert "dotted path" in str(message.hint)


@pytest.mark.parametrize("right", ["subscribe", "publish"])
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere.may_read", "No module named 'nowhere'"),
        ("realtime.policies.nothing", "nothing"),
        ("realtime.policies.PERSONAL_PREFIX", "no callable"),
    ],
)
def test_e008_a_policy_cannot_be_loaded(settings: Any, right: str, path: str, says: str) -> None:
    settings.REALTIME = {"NAMESPACES": {"ticks": {"kind": "stats", right: path}}}
    message = find("realtime.E008")
    assert f"ticks.{right}" in message.msg
    assert says in message.msg
    assert "permission" in str(message.hint)


def test_e009_the_loader_of_identities_cannot_be_loaded(settings: Any) -> None:
    settings.REALTIME = {"IDENTITY_LOADER": "accounts.nothing"}
    assert "nothing" in find("realtime.E009").msg


def test_i001_a_permission_that_no_model_declares(settings: Any) -> None:
    settings.REALTIME = {"ECHO_POLICY": "realtime.fly"}
    message = find("realtime.I001")
    assert "ECHO_POLICY" in message.msg
    assert "realtime.fly" in message.msg


@pytest.mark.parametrize(
    "policy",
    ["realtime.disconnect_session", "realtime.view_session", "tests.test_policies.may_if_seven"],
)
def test_a_permission_and_a_callable_are_all_right(settings: Any, policy: str) -> None:
    settings.REALTIME = {
        "ECHO_POLICY": policy,
        "NAMESPACES": {"ticks": {"kind": "stats", "publish": policy}},
    }
    assert check_settings() == []


def use_redis(settings: Any, url: str) -> None:
    config = {"hosts": [url], "prefix": "rt.0"}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB, "CONFIG": config}}
    settings.REALTIME = {"REDIS_URL": url, "PREFIX": "rt", "HISTORY_TIMEOUT": 15.0}


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere.pem",
        "unix:///nowhere.sock",
        "redis+sentinel://127.0.0.1:1/0?sentinel_master_name=main",
    ],
)
def test_w001_redis_does_not_answer(settings: Any, url: str) -> None:
    use_redis(settings, url)
    message = find("realtime.W001")
    assert "Redis" in message.msg
    assert "Start Redis at the address in REDIS_URL" in str(message.hint)


@pytest.mark.parametrize(
    "url", ["localhost:6379", "redis+sentinel://a:26379/0", "rediss://a?ssl_cert_reqs=perhaps"]
)
def test_e007_the_address_of_redis_is_malformed(settings: Any, url: str) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB, "CONFIG": {"hosts": ["redis://a"]}}}
    settings.REALTIME = {"REDIS_URL": url}
    message = find("realtime.E007")
    assert "REDIS_URL" in message.msg
    assert "redis+sentinel://host:26379,host:26379/0?sentinel_master_name=" in str(message.hint)


def test_a_redis_that_answers_is_all_right(
    settings: Any, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.redis_checks.TIMEOUT", 15)  # on a busy machine, too
    use_redis(settings, redis.url)
    assert check_settings() == []


def run(project: Project, *arguments: str) -> tuple[int, str]:
    """The exit code and all output of `manage.py …`."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=project.full_environment,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_server_refuses_to_start_without_its_redis_and_says_how_to_mend_it(
    make_project: Callable[..., Project],
) -> None:
    project = make_project(REDIS_URL="redis://127.0.0.1:1/0")
    code, output = run(project, "serve", "--port", str(find_free_port()))
    assert code == 1
    assert "realtime.W001" in output
    assert "Redis does not answer" in output
    assert "Start Redis at the address in REDIS_URL" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "DJANGO_SECRET_KEY is not set"),
        ({"DJANGO_SECRET_KEY": STRONG}, "JWT_SIGNING_KEY is not set"),
        ({"DJANGO_SECRET_KEY": "short", "JWT_SIGNING_KEY": OTHER}, "DJANGO_SECRET_KEY is weak"),
        ({"DJANGO_SECRET_KEY": "a" * 80, "JWT_SIGNING_KEY": OTHER}, "DJANGO_SECRET_KEY is weak"),
        (
            {"DJANGO_SECRET_KEY": "django-insecure-" + STRONG, "JWT_SIGNING_KEY": OTHER},
            "DJANGO_SECRET_KEY is weak",
        ),
        ({"DJANGO_SECRET_KEY": STRONG, "JWT_SIGNING_KEY": "abc"}, "JWT_SIGNING_KEY is weak"),
        ({"DJANGO_SECRET_KEY": STRONG, "JWT_SIGNING_KEY": STRONG}, "has to differ"),
    ],
)
def test_in_production_a_missing_or_weak_secret_stops_the_start_and_nothing_is_made(
    tmp_path: Path, environment: dict[str, str], says: str
) -> None:
    project = Project(tmp_path, {"DJANGO_DEBUG": "false", **environment})
    code, output = run(project, "check")
    assert code != 0
    assert says in output
    assert list(tmp_path.iterdir()) == []


def test_django_has_no_warning_for_the_production_settings_of_the_readme(tmp_path: Path) -> None:
    (block,) = re.findall(r"```ini\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for line in block.splitlines() if not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["DJANGO_DEBUG"] == "false"
    # Secrets are the reader's to fill in, and so are stores that this test does not have.
    variables |= {"DJANGO_SECRET_KEY": STRONG, "JWT_SIGNING_KEY": OTHER}
    for store in ("DATABASE_URL", "REDIS_URL"):
        assert "://" in variables.pop(store)
    project = Project(tmp_path, variables)
    code, output = run(project, "check", "--deploy", "--fail-level", "WARNING")
    assert code == 0, output
    assert "no issues (0 silenced)" in output


def test_connections_of_a_pool_are_checked_before_they_are_used(tmp_path: Path) -> None:
    """Else each one fails once more after PostgreSQL was restarted."""
    project = Project(tmp_path, {"DATABASE_URL": "postgres://someone@127.0.0.1:1/nothing"})
    program = "from django.db import connection; print('check:', connection.pool._check)"
    output = project.manage("shell", "--verbosity", "0", "-c", program)
    assert "check_connection" in output


def test_what_the_example_of_the_environment_shows_are_defaults(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert len(shown) > 30
    assert not any("#" in value for value in shown.values())  # it would be part of the value
    del shown["DATA_DIR"], shown["REDIS_URL"]  # of this test, and an example
    code, output = run(Project(tmp_path, shown), "check")
    assert code == 0, output


def test_in_development_secrets_are_made_once_for_this_user_alone(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert run(project, "check")[0] == 0
    secrets = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(secrets) == {"DJANGO_SECRET_KEY", "JWT_SIGNING_KEY"}
    assert len(set(secrets.values())) == 2
    for path in (tmp_path / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert run(project, "check")[0] == 0
    assert secrets == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


def test_in_production_strong_secrets_are_taken(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        {"DJANGO_DEBUG": "false", "DJANGO_SECRET_KEY": STRONG, "JWT_SIGNING_KEY": OTHER},
    )
    code, output = run(project, "check")
    assert code == 0, output
    assert not (tmp_path / "secrets").exists()
