"""The settings object: typed, complete, and strict about what it does not know."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.exceptions import ImproperlyConfigured

from realtime.conf import (
    Kind,
    Policy,
    Settings,
    Slow,
    build_settings,
    derive_prefix,
    get_settings,
    read_environment,
)
from realtime.models import Instance

FIELDS = {
    field.encode_name: field.default
    for field in msgspec.structs.fields(Settings)
    if field.name != "namespaces"
}


def test_without_options_everything_has_its_default() -> None:
    options = build_settings({})
    assert set(options.namespaces) == {"broadcast", "stats", "arrays", "blobs"}
    assert options.namespaces["stats"].kind is Kind.STATS
    assert options.namespaces["stats"].slow is Slow.LATEST
    assert options.echo_policy is Policy.AUTHENTICATED
    assert (options.frame_limit, options.authentication_timeout) == (1024 * 1024, 10)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"OUTBOX_BITES": 1}, "OUTBOX_BITES"),
        ({"outbox_bytes": 1}, "outbox_bytes"),
        ({"OUTBOX_BYTES": "many"}, "OUTBOX_BYTES"),
        ({"OUTBOX_BYTES": 0}, "OUTBOX_BYTES"),
        ({"HISTORY_TIMEOUT": 0}, "HISTORY_TIMEOUT"),
        ({"ECHO_POLICY": "friends"}, "ECHO_POLICY"),
        ({"NAMESPACES": {"ticks": {"kind": "stats", "windw": "5m"}}}, "windw"),
        ({"NAMESPACES": {"ticks": {"kind": "stat"}}}, "NAMESPACES"),
        ({"NAMESPACES": {"ticks": {}}}, "kind"),
        ({"NAMESPACES": {"ticks": {"kind": "stats", "history_size": -1}}}, "history_size"),
        ({"NAMESPACES": {"Ticks": {"kind": "stats"}}}, "'Ticks' is no namespace's name"),
        ({"NAMESPACES": {"a" * 32: {"kind": "stats"}}}, "no namespace's name"),
    ],
)
def test_what_is_unknown_or_of_the_wrong_type_is_refused_by_name(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        build_settings(options)


def test_namespaces_of_the_project_join_the_default_ones_replace_or_remove_them() -> None:
    options = build_settings(
        {
            "NAMESPACES": {
                "ticks": {"kind": "stats", "window": "5m"},
                "stats": {"kind": "stats", "history_size": 5},
                "blobs": None,
            }
        }
    )
    assert set(options.namespaces) == {"broadcast", "stats", "arrays", "ticks"}
    assert options.namespaces["ticks"].window == "5m"
    assert options.namespaces["stats"].history_size == 5
    assert options.namespaces["stats"].slow is Slow.DISCONNECT  # replaced, not merged
    assert options.get_namespace("blobs") is None


def test_settings_cannot_be_changed_by_accident() -> None:
    options = build_settings({})
    with pytest.raises(AttributeError):
        options.outbox_bytes = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        options.namespaces["broadcast"].history_size = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", FIELDS)
def test_every_scalar_can_be_set_by_the_environment(name: str) -> None:
    default = FIELDS[name]
    match default:
        case Policy():
            text, value = "anyone", Policy.ANYONE
        case bool():
            text, value = "false", False  # type: ignore[assignment]
        case str():
            text, value = "some text", "some text"  # type: ignore[assignment]
        case float():
            text, value = "2.5", 2.5  # type: ignore[assignment]
        case int() | None:
            text, value = "77", 77  # type: ignore[assignment]
    options = read_environment({f"REALTIME_{name}": text, "OTHER": "x", "REALTIMES": "y"})
    assert options == {name: value}
    assert getattr(build_settings(options), name.lower()) == value


def test_what_the_clients_read_from_the_environment_is_no_setting() -> None:
    names = ("URL", "TOKEN", "USERNAME", "PASSWORD")
    assert read_environment({f"REALTIME_{name}": "x" for name in names}) == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "stats", "publish": "friends"}, "'friends' is no policy: name anyone, "),
        ({"kind": "stats", "windo": "5m"}, "unknown field `windo`"),
        ({"kind": "stat"}, "'stat'"),
    ],
)
def test_a_namespace_that_is_wrong_is_named(options: dict[str, str], says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="'ticks'") as error:
        build_settings({"NAMESPACES": {"ticks": options}})
    assert says in str(error.value)


def test_the_release_is_the_version_of_the_project_unless_it_is_set() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert build_settings({}).release == project["project"]["version"]


def test_a_release_has_room_in_its_column() -> None:
    limit = Instance._meta.get_field("version").max_length
    assert limit
    assert build_settings({"RELEASE": "x" * limit}).release == "x" * limit
    with pytest.raises(ImproperlyConfigured, match=rf"of length <= {limit} - at `\$.RELEASE`"):
        build_settings({"RELEASE": "x" * (limit + 1)})


def test_whole_numbers_do_for_seconds() -> None:
    assert read_environment({"REALTIME_STALL_TIMEOUT": "3"}) == {"STALL_TIMEOUT": 3.0}


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REALTIME_OUTBOX_BITES", "1"),
        ("REALTIME_outbox_bytes", "1"),
        ("REALTIME_NAMESPACES", "{}"),
        ("REALTIME_OUTBOX_BYTES", "many"),
        ("REALTIME_OUTBOX_BYTES", "1.5"),
        ("REALTIME_OUTBOX_BYTES", "-1"),
        ("REALTIME_OUTBOX_BYTES", ""),
        ("REALTIME_STALL_TIMEOUT", "0"),
        ("REALTIME_STALL_TIMEOUT", "nan"),
        ("REALTIME_ECHO_POLICY", "friends"),
        ("REALTIME_RELEASE", "x" * 65),
        ("REALTIME_RELEASE", "1.0\0"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variable: str, text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=variable):
        read_environment({variable: text})


def test_settings_follow_django_s_when_a_test_changes_them(settings: Any) -> None:
    settings.REALTIME = {"OUTBOX_BYTES": 7}
    assert get_settings().outbox_bytes == 7
    assert get_settings() is get_settings()
    settings.REALTIME = {"OUTBOX_BYTES": 8}
    assert get_settings().outbox_bytes == 8


def test_a_deployment_that_names_no_prefix_gets_one_of_its_secret_which_tells_nothing(
    settings: Any,
) -> None:
    url = {"REDIS_URL": "redis://h"}
    settings.SECRET_KEY = "one secret"
    made = build_settings(url).prefix
    assert made == derive_prefix("one secret") == derive_prefix(b"one secret")
    assert re.fullmatch(r"rt-[0-9a-f]{12}", made)
    settings.SECRET_KEY = "another secret"
    assert build_settings(url).prefix != made
    assert build_settings({**url, "PREFIX": "shop"}).prefix == "shop"
    assert build_settings({}).prefix == ""  # nothing is shared
