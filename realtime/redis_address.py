"""Where Redis is: one address, in any of the forms that people run it in.

    redis://[user:password@]host:port/db
    rediss://…                               over TLS; ?ssl_cert_reqs=none, ?ssl_ca_certs=/ca.pem
    unix:///path/to/redis.sock?db=0
    redis+sentinel://[user:password@]host:port,host:port/db?sentinel_master_name=name
    rediss+sentinel://…                      over TLS, to the sentinels too

The user and password are those of Redis; the sentinels' own are `sentinel_user` and
`sentinel_password`. Options are spelled as in redis-py's `from_url`.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

FORMS = (
    "redis://host:6379/0, rediss://host:6379/0 (TLS), unix:///path/to/redis.sock, or "
    "redis+sentinel://host:26379,host:26379/0?sentinel_master_name=mymaster (rediss+sentinel: TLS)"
)
REDIS_PORT = 6379
SENTINEL_PORT = 26379
# A sentinel that does not answer within this time is passed over for the next one: with three of
# them, an answer still comes within the usual deadline of 2 s.
SENTINEL_TIMEOUT = 0.5

_SCHEMES = ("redis", "rediss", "unix")
_SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SENTINEL_OPTIONS = ("sentinel_master_name", "sentinel_user", "sentinel_password")
# What else a connection could be told, this package decides itself: retries, pool sizes, decoding.
_OPTIONS = frozenset(
    {
        *("db", "username", "password", "client_name", "health_check_interval"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive"),
    }
)

# Braces would be hash tags, and the rest of these means nothing else in patterns of an ACL.
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """An address, taken apart. `options` are keywords of redis-py's connections.

    `url` is empty where sentinels are asked; `sentinels` and `master_name` are otherwise.
    """

    options: dict[str, Any] = field(repr=False)  # they hold the password
    url: str = field(default="", repr=False)
    is_secure: bool = False
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)


def parse_address(url: str) -> RedisAddress:
    """Take an address apart; raises ImproperlyConfigured, without its password."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.scheme in _SENTINEL_SCHEMES:
            address = _parse_sentinels(parts, query)
        elif parts.scheme in _SCHEMES:
            address = _parse_single(url, parts, query)
        else:
            raise ValueError("it begins with none of these schemes")
        _build_pool(address, blocking=False).make_connection()  # refuses odd ssl_ options
    except (TypeError, ValueError, RedisError) as error:
        raise ImproperlyConfigured(
            f"REDIS_URL is not the address of a Redis: {error}; write it as {FORMS}"
        ) from error
    return address


def make_pool(url: str, *, blocking: bool, **options: Any) -> ConnectionPool:
    """A pool of connections to the Redis at an address; through Sentinel, to its master.

    `options` go to the connections, `max_connections` to the pool. Once so many are in use,
    a blocking pool lets callers wait `timeout` seconds for one; the other one raises. Close it
    with `aclose()`. Raises ImproperlyConfigured.
    """
    return _build_pool(parse_address(url), blocking=blocking, **options)


def build_layer_host(url: str) -> Any:
    """The same Redis as an entry of the channel layer's `hosts`; raises ImproperlyConfigured."""
    address = parse_address(url)
    if not address.sentinels:
        return url
    return {
        "sentinels": list(address.sentinels),
        "master_name": address.master_name,
        "sentinel_kwargs": _build_sentinel_options(address),
        "ssl": address.is_secure,
        **address.options,
    }


def build_base(prefix: str, url: str) -> str:
    """What the names of all keys and channels of a deployment begin with.

    The number of the database is in it, since Redis' channels know no databases: whoever
    subscribes hears what is published from any of them. Raises ImproperlyConfigured.
    """
    if _PREFIX.fullmatch(prefix) is None:
        raise ImproperlyConfigured(
            f"REALTIME['PREFIX'] (REALTIME_PREFIX) cannot be {prefix!r}: write 1 to 32 of A-Z, "
            "a-z, 0-9, '_', '.' and '-', beginning with a letter or digit"
        )
    return f"{prefix}.{parse_address(url).options.get('db') or 0}"


def is_same_redis(host: Any, url: str) -> bool:
    """Whether an entry of the channel layer's `hosts` is the Redis at this address."""
    address = parse_address(url)
    if not isinstance(host, dict):
        return bool(host == url)
    if not address.sentinels:
        return bool(host.get("address") == url)
    return (
        sorted(map(tuple, host.get("sentinels", ()))) == sorted(address.sentinels)
        and host.get("master_name") == address.master_name
        and host.get("db", 0) == address.options.get("db", 0)
    )


async def ping(url: str, *, within: float) -> None:
    """Ask Redis for a sign of life; raises RedisError or OSError after so many seconds."""
    pool = make_pool(
        url,
        blocking=False,
        socket_timeout=within,
        socket_connect_timeout=within,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        await Redis(connection_pool=pool).ping()
    finally:
        await pool.aclose()


class _SentinelPool(SentinelConnectionPool):  # type: ignore[misc]
    """Closes its connections to the sentinels too, and has errors of one line."""

    async def get_master_address(self) -> Any:
        try:
            return await super().get_master_address()
        except MasterNotFoundError as error:
            raise MasterNotFoundError(
                f"no sentinel that answers knows of a working master {self.service_name!r}"
            ) from error

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


class _BlockingSentinelPool(_SentinelPool, BlockingConnectionPool):  # type: ignore[misc]
    """The same, bounded: who finds every connection in use waits for one."""


def _build_pool(address: RedisAddress, *, blocking: bool, **options: Any) -> ConnectionPool:
    if not address.sentinels:
        plain = BlockingConnectionPool if blocking else ConnectionPool
        return plain.from_url(address.url, **options)
    return (_BlockingSentinelPool if blocking else _SentinelPool)(
        address.master_name,
        Sentinel(address.sentinels, sentinel_kwargs=_build_sentinel_options(address)),
        ssl=address.is_secure,
        **{**options, **address.options},
    )


def _build_sentinel_options(address: RedisAddress) -> dict[str, Any]:
    return {
        "socket_timeout": SENTINEL_TIMEOUT,
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        # By default a client tries a dead sentinel again for seconds before the next is asked.
        "retry": Retry(NoBackoff(), 0),
        "ssl": address.is_secure,
        **{name: value for name, value in address.options.items() if name.startswith("ssl_")},
        **address.sentinel_options,
    }


def _parse_single(url: str, parts: SplitResult, query: dict[str, str]) -> RedisAddress:
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("it has no path")
    else:
        _parse_host(parts.netloc.rpartition("@")[2], default_port=REDIS_PORT)
        _check_database(parts.path)
    _check_options(parts.scheme, query)
    options = parse_url(url)
    options.pop("connection_class", None)
    return RedisAddress(dict(options), url=url, is_secure=parts.scheme == "rediss")


def _parse_sentinels(parts: SplitResult, query: dict[str, str]) -> RedisAddress:
    credentials, _, hosts = parts.netloc.rpartition("@")
    sentinels = [_parse_host(host, default_port=SENTINEL_PORT) for host in hosts.split(",")]
    _check_database(parts.path)
    _check_options(parts.scheme, query)
    # All else as redis-py reads it, from an address of the form that it knows.
    rest = urlencode({name: query[name] for name in query if name not in _SENTINEL_OPTIONS})
    scheme = _SENTINEL_SCHEMES[parts.scheme]
    options = parse_url(f"{scheme}://{credentials}@sentinel{parts.path}?{rest}")
    is_secure = options.pop("connection_class", None) is SSLConnection
    del options["host"]
    given = {"username": query.get("sentinel_user"), "password": query.get("sentinel_password")}
    return RedisAddress(
        dict(options),
        is_secure=is_secure,
        sentinels=tuple(sentinels),
        master_name=query["sentinel_master_name"],
        sentinel_options={name: value for name, value in given.items() if value},
    )


def _parse_host(text: str, *, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    try:
        return parts.hostname, parts.port or default_port
    except ValueError:
        # Python's own text quotes it, and behind an odd password it is a part of that.
        raise ValueError("a port is no number up to 65535") from None


def _check_database(path: str) -> None:
    if path.strip("/") and not path.strip("/").isdecimal():
        raise ValueError("what follows the host is the number of a database, such as /0")


def _check_options(scheme: str, query: dict[str, str]) -> None:
    if scheme in _SENTINEL_SCHEMES and not query.get("sentinel_master_name"):
        raise ValueError("sentinel_master_name is missing")
    for name in query:
        if name in _SENTINEL_OPTIONS:
            if scheme not in _SENTINEL_SCHEMES:
                raise ValueError(f"{name} goes with redis+sentinel:// only")
        elif name.startswith("ssl_"):
            if not scheme.startswith("rediss"):
                raise ValueError(f"{name} goes with rediss:// only")
        elif name not in _OPTIONS:
            raise ValueError(f"there is no option {name!r}")
