"""The settings of this package: one frozen object, built from `REALTIME` in Django's settings.

    REALTIME = {"NAMESPACES": {"ticks": {"kind": "stats"}}, "OUTBOX_BYTES": 2 * 1024 * 1024}

Each scalar can also be set by the environment, as `REALTIME_OUTBOX_BYTES=2097152`.
Unknown keys and values of the wrong type are refused at start.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from msgspec import Meta, Struct

from realtime.core.topics import is_namespace

MIB = 1024 * 1024
# What the clients of this project read from the environment; the same shell may have both.
CLIENT_VARIABLES = frozenset({"URL", "TOKEN", "USERNAME", "PASSWORD"})

AtLeastZero = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
# As `realtime.models.Instance` has room for; PostgreSQL has no texts with NUL in them.
Release = Annotated[str, Meta(max_length=64, pattern="^[^\0]*$")]


class Kind(StrEnum):
    """What a namespace's topics carry."""

    BROADCAST = "broadcast"
    STATS = "stats"
    BINARY = "binary"


class Format(StrEnum):
    """What a binary namespace accepts: one numpy array, or any bytes."""

    NPY = "npy"
    ANY = "any"


class Policy(StrEnum):
    """Who may subscribe or publish, in a word; `realtime.policies` says what else can be named."""

    ANYONE = "anyone"
    AUTHENTICATED = "authenticated"
    STAFF = "staff"


_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def check_policy(option: str, text: str) -> None:
    """Raise ValueError where a text is no policy: `realtime.policies` says what is one."""
    if text not in list(Policy) and _DOTTED.fullmatch(text) is None:
        raise ValueError(
            f"{option}: {text!r} is no policy: name {', '.join(Policy)}, a permission "
            "(app.codename), or the dotted path of a callable"
        )


class Slow(StrEnum):
    """What happens to a session whose outbox is full."""

    DISCONNECT = "disconnect"
    LATEST = "latest"


class OutsideServer(StrEnum):
    """What a direct call does where no server is reached: no server here, and no Redis."""

    RAISE = "raise"
    LOG = "log"
    IGNORE = "ignore"


class Namespace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a family of topics.

    subscribe, publish: who may; see `realtime.policies`.
    history_size: publications kept for each topic; 0 turns history off (at most once).
    history_bytes: bytes kept for each topic; the newest publication always stays.
    history_ttl: seconds after the last publication until a topic's history goes.
    presence: whether subscribers are told who else is on a topic.
    window: the statistics window of a session that asks for none.
    processor: dotted path of a callable `(data, *, topic, user) -> data`, sync or async, that
        may change a publication before it is accepted, or refuse it by raising
        `realtime.errors.Rejected`.
    """

    kind: Kind
    format: Format = Format.NPY
    subscribe: str = Policy.AUTHENTICATED
    publish: str = Policy.AUTHENTICATED
    history_size: AtLeastZero = 1000
    history_bytes: Positive = 16 * MIB
    history_ttl: Seconds = 86_400.0
    slow: Slow = Slow.DISCONNECT
    presence: bool = False
    window: str = "100"
    processor: str | None = None

    def __post_init__(self) -> None:
        check_policy("subscribe", self.subscribe)
        check_policy("publish", self.publish)


DEFAULT_NAMESPACES: dict[str, dict[str, Any]] = {
    "broadcast": {"kind": "broadcast"},
    "stats": {"kind": "stats", "history_size": 10_000, "slow": "latest"},
    "arrays": {"kind": "binary", "format": "npy", "history_size": 32, "history_bytes": 64 * MIB},
    "blobs": {"kind": "binary", "format": "any", "history_size": 32, "history_bytes": 64 * MIB},
}


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="upper"):
    """Every option with its default; times are in seconds, sizes in bytes."""

    # Namespaces of the project, added to the four defaults; None removes a default one.
    namespaces: dict[str, Namespace]
    # The channel layer (a key of CHANNEL_LAYERS) that carries publications between processes.
    channel_layer: str = "default"
    # Redis for the history; empty: the history is kept in the memory of this one process.
    redis_url: str = ""
    # What the names of all keys and channels in Redis begin with, before the number of the
    # database: up to 32 of A-Z, a-z, 0-9, '_', '.' and '-'. Deployments with the same one hear each
    # other. Empty: made from SECRET_KEY.
    prefix: str = ""
    # Who may use /ws/echo/.
    echo_policy: str = Policy.AUTHENTICATED

    # How long a session may wait with its first message, the credential.
    authentication_timeout: Seconds = 10.0
    # How long a session goes on after its token has expired.
    expiry_grace: Annotated[float, Meta(ge=0)] = 25.0
    # The WebSocket ping interval that clients are told; daphne's --ping-interval.
    ping_interval: Seconds = 20.0

    # What is deployed, as the admin shows it for each instance: a version, a tag, a commit; up to
    # 64 characters.
    release: Release = "0.1.0"

    # What `publish()`, `disconnect()` and `recheck()` do in a process that reaches no server, since
    # it runs none and has no Redis: `raise` NotRunning, `log` an error, or `ignore` it. With
    # `on_commit` they never raise for that: they log it, or ignore it.
    outside_server: OutsideServer = OutsideServer.RAISE

    # Who makes a REST request: dotted paths of authentication classes of Django REST framework,
    # separated by commas. Empty: the project's own DEFAULT_AUTHENTICATION_CLASSES.
    rest_authentication: str = ""

    # What reads the users of live sessions anew, to end those that were revoked: the dotted path
    # of a callable (Sequence[Identity]) -> list[Identity | None], None for one that is over.
    # Empty: users are looked up by their key, and have to be active; who signed in by a session of
    # Django's ends with it.
    identity_loader: str = ""
    # How often that is done for all sessions, besides at each change that is heard of.
    recheck_seconds: Seconds = 30.0

    # The longest text message from a client.
    max_text_bytes: Positive = 64 * 1024
    # The longest publication: the sum of its chunks.
    max_binary_bytes: Positive = 16 * MIB
    # The longest single binary message, in either direction. None: as long as a publication where
    # this package writes the sockets itself (`serve`), 1 MiB elsewhere, which stock daphne allows.
    max_frame_bytes: Positive | None = None
    # The longest array that a client may request, and the sum of those being made.
    max_request_bytes: Positive = 64 * MIB
    max_requests_bytes: Positive = 256 * MIB
    # How long the next chunk of an upload may take, and a whole upload besides the time that its
    # bytes take at the least rate.
    chunk_timeout: Seconds = 30.0
    upload_timeout: Seconds = 120.0
    # How long a message may take from its first byte to its last, besides the same.
    message_timeout: Seconds = 30.0
    # The least rate of messages and uploads that are on their way, in bytes a second.
    least_bytes_per_second: Positive = 16 * 1024

    # What may wait in a session's outbox behind the item being written.
    outbox_bytes: Positive = MIB
    # How long a socket may take no byte while something waits.
    stall_timeout: Seconds = 10.0
    # Publishes of one session that may wait for the history; then its reading pauses.
    session_pending_publishes: Positive = 64
    session_pending_bytes: Positive = MIB
    # What one commit to the history takes at most, and what may wait for it in a process.
    batch_publications: Positive = 256
    batch_bytes: Positive = 256 * 1024
    pending_publications: Positive = 65_536
    pending_bytes: Positive = 256 * MIB
    # The deadline of a commit, and of a read.
    history_timeout: Seconds = 2.0
    # All topics together, when the history is in memory; whoever has published most makes room.
    memory_history_topics: Positive = 10_000
    memory_history_bytes: Positive = 256 * MIB
    # What the history of one user, or else address, may take where it is in Redis, all topics
    # together, in bytes; and of how many topics it may be. 0 lifts one.
    history_bytes_per_user: AtLeastZero = 1024 * MIB
    history_topics_per_user: AtLeastZero = 10_000
    # What a process keeps of the publications that it handed on last, all topics together, so
    # that sessions which come back soon need no read of the history.
    recent_bytes: Positive = 64 * MIB
    # How long a topic's group is kept after its last local subscriber.
    group_leave_delay: Annotated[float, Meta(ge=0)] = 30.0

    # Sessions older than this are told to come back (1012); 0: never.
    max_session_seconds: Annotated[float, Meta(ge=0)] = 0.0

    # Limits on clients; 0 lifts one. Messages are counted for each user, or else address.
    messages_per_second: AtLeastZero = 2000
    bytes_per_second: AtLeastZero = 64 * MIB
    # Input that is unfinished or waits to be handled: of a user, or else address, and in all.
    input_bytes_per_user: AtLeastZero = 64 * MIB
    input_bytes: AtLeastZero = 256 * MIB
    # The samples of the topics whose statistics are read in a process, all together.
    statistics_bytes: AtLeastZero = 256 * MIB
    connections_per_user: AtLeastZero = 1000
    connections_per_address: AtLeastZero = 2000
    handshakes_per_second: AtLeastZero = 500
    connections_per_process: AtLeastZero = 20_000
    # HTTP requests of an address, and those of a user.
    requests_per_second: AtLeastZero = 200
    # Tokens of an address that are no good; over it, only what this server signed is looked at.
    bad_tokens_per_second: AtLeastZero = 20

    # How many HTTP requests run at a time, each in a thread with a connection to the database;
    # how many may wait for one, in all and of an address, and for how long.
    request_threads: Positive = 8
    waiting_requests: AtLeastZero = 1024
    waiting_requests_per_address: AtLeastZero = 256
    request_wait_seconds: Seconds = 5.0

    # HTTP where this package serves it (`serve`): connections that are no WebSockets. 0 lifts one.
    http_connections_per_process: AtLeastZero = 2000
    http_connections_per_address: AtLeastZero = 500
    # The longest body of a request; a publication may be as long as others say above.
    http_body_bytes: Positive = 256 * 1024
    # Bodies from their arrival until they are answered, together; 0 lifts one.
    http_bodies_bytes: AtLeastZero = 128 * MIB
    http_bodies_bytes_per_address: AtLeastZero = 32 * MIB
    # How long the head of a request may take.
    http_head_timeout: Seconds = 5.0
    # How long a body may take to come, and an answer to be read, and a second more for so many
    # bytes of it.
    http_patience: Seconds = 10.0
    http_least_rate: Positive = 32 * 1024
    # How long a connection may wait for its next request.
    http_keep_alive: Seconds = 75.0

    # The claim of this process to be alive, and how often it is renewed.
    lease_seconds: Seconds = 15.0
    lease_renewal_seconds: Seconds = 5.0
    # Whether sessions are written to the database, for the admin to show them.
    track_sessions: bool = True
    # How often the counts of live sessions (messages, bytes, errors) are written.
    count_seconds: Seconds = 15.0
    # How long the rows of ended sessions are kept, in days; 0: for ever.
    session_retention_days: Annotated[float, Meta(ge=0)] = 30.0
    # How many rows of ended sessions are kept in all; 0: however many.
    session_rows_most: AtLeastZero = 1_000_000
    # How many rows an hour each process keeps of sessions that ended: of those of one address
    # (IPv6: a /64), and in all. The rest is counted. Live sessions always have one. 0 lifts one.
    session_rows_per_address: AtLeastZero = 600
    session_rows_per_hour: AtLeastZero = 100_000

    def __post_init__(self) -> None:
        check_policy("ECHO_POLICY", self.echo_policy)

    @property
    def frame_limit(self) -> int:
        """The longest single binary message on this server, in bytes."""
        if self.max_frame_bytes is not None:
            return self.max_frame_bytes
        return self.max_binary_bytes if _engine.is_own else MIB

    def get_namespace(self, name: str) -> Namespace | None:
        """The options of a namespace, or None where there is none of that name."""
        return self.namespaces.get(name)


class _Engine:
    """Whose WebSocket engine this process runs; set once, before anything is accepted."""

    is_own = False


_engine = _Engine()


def use_own_engine() -> None:
    """From now on this package writes the sockets of the process itself."""
    _engine.is_own = True


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings in force; raises ImproperlyConfigured that names what is wrong."""
    return build_settings(getattr(django_settings, "REALTIME", {}))


def build_settings(options: Mapping[str, Any]) -> Settings:
    """Check `options` (keys in capitals) and add the defaults."""
    namespaces = {**DEFAULT_NAMESPACES, **options.get("NAMESPACES", {})}
    for name in namespaces:
        if not is_namespace(name):
            raise ImproperlyConfigured(
                f"REALTIME['NAMESPACES']: {name!r} is no namespace's name: "
                "1 to 31 of a-z, 0-9 and _, beginning with a letter"
            )
    kept = {
        name: _build_namespace(name, value)
        for name, value in namespaces.items()
        if value is not None
    }
    try:
        settings = msgspec.convert({**options, "NAMESPACES": kept}, Settings)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"REALTIME: {error}") from error
    if settings.redis_url and not settings.prefix:
        return msgspec.structs.replace(settings, prefix=derive_prefix(django_settings.SECRET_KEY))
    return settings


def derive_prefix(secret: str | bytes) -> str:
    """The prefix of a deployment that names none: another secret, another prefix."""
    key = secret if isinstance(secret, bytes) else secret.encode()
    return "rt-" + hmac.new(key, b"realtime.prefix", hashlib.sha256).hexdigest()[:12]


def _build_namespace(name: str, value: Any) -> Namespace:
    try:
        return msgspec.convert(value, Namespace)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"REALTIME['NAMESPACES'][{name!r}]: {error}") from error


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The options that `REALTIME_<FIELD>` variables set; raises ImproperlyConfigured."""
    fields = {
        field.encode_name: field.type
        for field in msgspec.structs.fields(Settings)
        if field.name != "namespaces"
    }
    options = {}
    for variable, text in environ.items():
        if not variable.startswith("REALTIME_"):
            continue
        name = variable.removeprefix("REALTIME_")
        if name in CLIENT_VARIABLES:
            continue
        if name not in fields:
            raise ImproperlyConfigured(
                f"{variable}: there is no such setting; realtime/conf.py lists them"
            )
        try:
            options[name] = msgspec.convert(text, fields[name], strict=False)
            if name.endswith("_POLICY"):
                check_policy(name, text)
        except ValueError as error:  # msgspec.ValidationError is one
            raise ImproperlyConfigured(f"{variable}: {error}") from error
    return options


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting == "REALTIME":
        get_settings.cache_clear()


setting_changed.connect(_forget_settings)
