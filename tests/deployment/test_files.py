"""What `deploy/` and `docs/deployment.md` say is true of the server as it is."""

import ast
import json
import re
import secrets
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from django.core.management import get_commands, load_command_class
from prometheus_client.parser import text_string_to_metric_families

import accounts.metrics as account_metrics
import realtime.metrics as realtime_metrics
from realtime.conf import Settings
from realtime.core.close_codes import CloseCode
from realtime.core.errors import ErrorCode
from realtime.server.processes import EXTRA_SECONDS
from tests.servers import ROOT, START_TIMEOUT, Project, RedisServer

DEPLOY = ROOT / "deploy"
GUIDE = (ROOT / "docs" / "deployment.md").read_text()
README = (ROOT / "README.md").read_text()
UNIT = (DEPLOY / "realtime.service").read_text()
NGINX = re.sub(r"^\s*#.*\n", "", (DEPLOY / "nginx.conf").read_text(), flags=re.MULTILINE)
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
TEXTS = {
    path.name: path.read_text()
    for path in (*DEPLOY.iterdir(), ROOT / "docs" / "deployment.md")
    if path.is_file()
}
DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Settings)}
INSTANCES = ("realtime1", "realtime2")
# Of the images of PostgreSQL and Redis, and what Prometheus itself records of each target.
VARIABLES_OF_IMAGES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
METRICS_OF_PROMETHEUS = {"up"}


def find_variables() -> set[str]:
    """The environment variables that the settings read."""
    names = {f"REALTIME_{name.upper()}" for name in DEFAULTS if name != "namespaces"}
    for node in ast.walk(ast.parse((ROOT / "project" / "settings.py").read_text())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            call = ast.unparse(node.func)
            if call.startswith("env."):
                names.add(node.args[0].value)
            elif call in ("read_text", "read_secret"):
                names |= {node.args[0].value, f"{node.args[0].value}_FILE"}
    return names


def find_metrics() -> dict[str, set[str]]:
    """The names that the server exports, each with its labels."""
    metrics: dict[str, set[str]] = {}
    for value in (*vars(realtime_metrics).values(), *vars(account_metrics).values()):
        if hasattr(value, "_labelnames"):
            suffix = "_total" if value._type == "counter" else ""
            metrics[value._name + suffix] = set(value._labelnames)
    text, _ = realtime_metrics.render_metrics({"database": True})
    for family in text_string_to_metric_families(text.decode()):
        if re.match(r"realtime_(?!.*_created$)", family.name) and family.samples:
            labels = {label for sample in family.samples for label in sample.labels}
            name = family.name + ("_total" if family.type == "counter" else "")
            metrics.setdefault(name, labels)
    return metrics


def find_commands(text: str) -> set[str]:
    """What stands behind `manage.py`, in shell, in units, and in lists of words."""
    text = re.sub(r'[\[\]",]+', " ", text.replace("`", "\n"))
    found = re.findall(r"manage\.py +([a-z_]+(?: +(?:-{1,2}[a-z]|[\w./])[^\s&|;)]*)*)", text)
    return {" ".join(each.split()) for each in found}


def find_serve() -> dict[str, list[str]]:
    """The arguments of `serve`, by the file that has them."""
    return {
        name: command.split()[1:]
        for name, text in TEXTS.items()
        for command in find_commands(text)
        if command.startswith("serve ")
    }


@pytest.fixture(scope="module")
def serve_options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The same, as the server's own parser reads them. (Its import would make an event loop.)"""
    program = (
        "import django, json, sys; django.setup();"
        "from realtime.server.command_line import ServeCommandLine;"
        "parse = ServeCommandLine().parser.parse_args;"
        "print(json.dumps({n: vars(parse(a)) for n, a in json.loads(sys.argv[1]).items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(find_serve())],
        cwd=ROOT,
        env=Project(tmp_path_factory.mktemp("options")).full_environment,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    options: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return options


def read_directive(name: str, text: str = NGINX) -> str:
    """The one value of a directive of nginx."""
    found = set(re.findall(rf"^\s*{name}\s+(.+);", text, re.MULTILINE))
    assert len(found) == 1, f"{name}: {found}"
    return str(found.pop())


def test_every_variable_is_one_that_the_settings_read() -> None:
    known = find_variables() | VARIABLES_OF_IMAGES
    assert {"DJANGO_SECRET_KEY", "REDIS_URL", "REALTIME_RELEASE"} <= known
    for name, text in TEXTS.items():
        used = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text))
        assert {each for each in used if not each.startswith("AF_")} <= known, name


def test_every_command_exists_with_its_options() -> None:
    commands = {each for text in TEXTS.values() for each in find_commands(text)}
    assert {"prune_sign_ins", "clearsessions", "migrate --no-input"} <= commands
    assert "manage.py\n" not in GUIDE  # a command on two lines would not be found
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name in get_commands(), command
        if name == "serve" or "<" in command or (name, arguments) == ("migrate", ["<app>"]):
            continue
        app = get_commands()[name]
        loaded = load_command_class(app, name) if isinstance(app, str) else app
        loaded.create_parser("manage.py", name).parse_args(arguments)


def test_every_start_of_the_server_is_understood(serve_options: dict[str, Any]) -> None:
    assert set(serve_options) == {"realtime.service", "Dockerfile", "deployment.md"}
    for name, options in serve_options.items():
        assert options["port"] == 8000, name
    # The guide changes the address of the unit, and nothing else.
    unit, guide = ({**serve_options[name]} for name in ("realtime.service", "deployment.md"))
    assert unit.pop("host") == "127.0.0.1"
    assert guide.pop("host") == "10.0.0.12"
    assert unit == guide


def test_a_drain_ends_before_it_is_cut_off(serve_options: dict[str, Any]) -> None:
    limits = {
        "realtime.service": re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)[0],
        "Dockerfile": COMPOSE["x-instance"]["stop_grace_period"].removesuffix("s"),
    }
    for name, limit in limits.items():
        options = serve_options[name]
        drain = options["drain_delay"] + options["drain_seconds"] + EXTRA_SECONDS
        assert drain < int(limit), name
    # The signal reaches the server itself, and of several processes their parent.
    assert "KillMode=mixed" in UNIT
    assert "KillSignal=SIGTERM" in UNIT
    last = DOCKERFILE.strip().splitlines()[-1]
    assert json.loads(last.removeprefix("CMD "))[:3] == ["python", "manage.py", "serve"]


def test_a_quiet_socket_outlives_the_timeouts_of_the_proxy(serve_options: dict[str, Any]) -> None:
    for options in serve_options.values():
        silence = options["ping_interval"] + options["ping_timeout"]
        for name in ("proxy_read_timeout", "proxy_send_timeout"):
            assert silence < int(read_directive(name).removesuffix("s"))


def test_the_proxy_takes_bodies_as_long_as_the_server_does() -> None:
    """Where nothing but stock daphne stands behind it, the proxy alone bounds them."""
    inner = "client_max_body_size 16m;"
    before, _, after = NGINX.partition(inner)
    assert before.rstrip().endswith("location ~ ^/api/topics/[^/]+/publications/$ {")
    assert read_directive("client_max_body_size", before + after) == "256k"
    assert DEFAULTS["http_body_bytes"] == 256 * 1024
    assert DEFAULTS["max_binary_bytes"] == 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("directive", "setting"),
    [
        ("client_header_timeout", "http_head_timeout"),
        ("client_body_timeout", "http_patience"),
        ("keepalive_timeout", "http_keep_alive"),
    ],
)
def test_the_proxy_waits_as_long_as_the_server_does(directive: str, setting: str) -> None:
    assert read_directive(directive) == f"{DEFAULTS[setting]:.0f}s"


def test_the_proxy_logs_nothing_that_can_hold_a_credential() -> None:
    variables = set(re.findall(r"\$(\w+)", "".join(re.findall(r"'(\{?\".*)'", NGINX))))
    assert {"uri", "upstream_status"} <= variables
    assert not {"request", "request_uri", "args", "query_string"} & variables
    assert not [each for each in variables if re.match("http_|arg_|cookie_|sent_http_", each)]
    assert read_directive("access_log").endswith(" realtime")
    # Lines below `crit` quote the request with its query.
    assert read_directive("error_log").endswith(" crit")


def test_the_proxy_appends_whose_connection_it_is_and_the_server_believes_one() -> None:
    headers = dict(re.findall(r"proxy_set_header (\S+) (\S+);", NGINX))
    assert headers["X-Forwarded-For"] == "$proxy_add_x_forwarded_for"
    assert headers["X-Forwarded-Proto"] == "$scheme"
    assert headers["Upgrade"] == "$http_upgrade"
    # Stock daphne believes a client that writes it: it must not arrive.
    assert headers["Daphne-Root-Path"] == '""'
    # In a block below, a single header of its own would take away all of these.
    assert NGINX.count("proxy_set_header") == len(headers)
    assert "TRUSTED_PROXIES=1\n" in README
    assert COMPOSE["x-realtime"]["environment"]["TRUSTED_PROXIES"] == "1"


def test_what_is_for_probes_stays_inside() -> None:
    for path in ("/metrics", "/readyz"):
        assert f"location = {path} {{ return 404; }}" in NGINX


def test_all_speak_of_the_same_port_and_files(serve_options: dict[str, Any]) -> None:
    port = serve_options["realtime.service"]["port"]
    upstream = (DEPLOY / "upstream.conf").read_text()
    contents = COMPOSE["configs"]["upstream"]["content"]
    ports = re.findall(r"^ *(?:# )?server \S+:(\d+) ", upstream + contents, re.MULTILINE)
    assert len(ports) == 4
    ports += re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    ports += re.findall(r"\b\d+\.\d+\.\d+\.\d+:(\d+)\b", GUIDE + DOCKERFILE)
    assert set(ports) == {str(port)}
    assert re.findall(r"server (\w+):", contents) == [*INSTANCES]
    assert set(INSTANCES) <= set(COMPOSE["services"])
    for name in ("realtime.service", "realtime-prune.service"):
        assert "EnvironmentFile=/etc/realtime/environment\n" in TEXTS[name]
        for path in re.findall(r"^ExecStart=(\S+) (\S+)", TEXTS[name], re.MULTILINE):
            assert path == ("/srv/realtime/.venv/bin/python", "/srv/realtime/manage.py")
    named = set(re.findall(r"`([\w.-]+)`", GUIDE.partition("## One machine")[0]))
    named.add("realtime-prune.timer")  # named by its ending
    assert {path.name for path in DEPLOY.iterdir() if path.name[0] != "."} <= named


def test_every_alert_is_about_metrics_that_the_server_exports() -> None:
    metrics = find_metrics()
    assert len(metrics) == 16
    assert set(metrics) == set(re.findall(r"^\| `(realtime_\w+)`", read_document("metrics"), re.M))
    for rule in RULES:
        expression = rule["expr"]
        for name, selector in re.findall(r"\b(\w+)\{([^}]*)\}", expression):
            assert name in {*metrics, *METRICS_OF_PROMETHEUS}, rule["alert"]
            labels = set(re.findall(r"(\w+)=~?\"", selector))
            assert "job" in labels
            assert labels <= {"job", *metrics.get(name, ())}, rule["alert"]
        assert set(re.findall(r"\brealtime_\w+", expression)) <= set(metrics), rule["alert"]
        assert rule["annotations"]["action"].endswith(".")
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_values_of_labels_in_alerts_are_counted_somewhere() -> None:
    counted = read_document("metrics") + read_document("limits") + read_document("tokens")
    used = {
        value
        for rule in RULES
        for selector in re.findall(r"\{([^}]*)\}", rule["expr"])
        for name, values in re.findall(r"(\w+)=~?\"([^\"]*)\"", selector)
        if name != "job"
        for value in values.split("|")
    }
    assert {"history_lost", "unavailable", "handshakes", "connections_.*"} <= used
    assert ErrorCode("unavailable")
    assert CloseCode.SERVICE_RESTART == 1012
    for value in used:
        assert re.search(rf"`{value}`", counted), value


def test_nearly_full_is_four_fifths_of_the_limit(serve_options: dict[str, Any]) -> None:
    (rule,) = (each for each in RULES if each["alert"] == "RealtimeNearlyFull")
    # `processes` is the parent's, and no option of the processes themselves.
    arguments = find_serve()["realtime.service"]
    processes = int(arguments[arguments.index("--processes") + 1])
    assert int(rule["expr"].rpartition("> ")[2]) == 0.8 * processes * int(
        DEFAULTS["connections_per_process"]
    )
    limit = int(re.findall(r"^LimitNOFILE=(\d+)$", UNIT, re.MULTILINE)[0])
    assert limit > int(DEFAULTS["connections_per_process"])


def test_no_secret_has_a_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    given = re.findall(r"\$\{(\w+)(:.)", text)
    assert {name for name, how in given if how == ":?"} == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert {name for name, how in given if how != ":?"} == {"REALTIME_RELEASE"}
    redis = COMPOSE["services"]["redis"]["command"]
    for option, value in (("--appendonly", "yes"), ("--maxmemory-policy", "noeviction")):
        assert redis[redis.index(option) + 1] == value


def test_an_image_has_what_the_server_needs_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert allowed == {*packages, "manage.py", "requirements.txt", "clients/js/src"}
    compiled = re.findall(r"compileall -q (.*)", DOCKERFILE)[0].split()
    assert set(compiled) == packages
    assert "\nUSER realtime\n" in DOCKERFILE


def test_the_documented_environment_passes_all_checks(tmp_path: Path, redis: RedisServer) -> None:
    block = re.findall(r"```ini\n(.*?)```", README, re.DOTALL)[0]
    variables = dict(re.findall(r"^(\w+)=(.*)$", block, re.MULTILINE))
    assert set(variables) <= find_variables()
    for name in ("DJANGO_SECRET_KEY", "JWT_SIGNING_KEY"):
        assert variables[name] == ""
        variables[name] = secrets.token_urlsafe(64)
    variables["REDIS_URL"] = redis.url
    # The release step of the guide, without whose options warnings would pass.
    assert "check --deploy --fail-level WARNING" in find_commands(GUIDE)
    Project(tmp_path, variables).manage("check", "--deploy", "--fail-level", "WARNING")


def test_links_of_the_guide_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        path, _, anchor = target.partition("#")
        text = (ROOT / "docs" / path).read_text() if path else GUIDE
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not anchor or anchor in slugs, target


def read_document(name: str) -> str:
    """The text of `docs/<name>.md`."""
    return (ROOT / "docs" / f"{name}.md").read_text()
