"""Listening sockets that outlive the process which serves them: bound by a parent, shared."""

import os
import socket
import stat
import sys
from argparse import Namespace
from pathlib import Path

# How many connections may wait to be accepted; the system's own bound can be lower. Twisted's 50
# makes a crowd that reconnects wait for its SYNs to be sent again.
BACKLOG = 4096

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000


def bind_sockets(options: Namespace) -> list[socket.socket]:
    """The sockets that the options name, listening; raises OSError."""
    sockets = []
    if options.file_descriptor is not None:
        sockets.append(socket.socket(fileno=options.file_descriptor))
    if options.unix_socket:
        sockets.append(_bind_unix(Path(options.unix_socket).absolute()))
    if options.host or options.port is not None or not sockets:
        host = (options.host or DEFAULT_HOST).strip("[]")
        port = DEFAULT_PORT if options.port is None else options.port
        is_v6 = ":" in host
        sockets.append(
            socket.create_server(
                (host, port),
                family=socket.AF_INET6 if is_v6 else socket.AF_INET,
                backlog=BACKLOG,
                dualstack_ipv6=is_v6 and socket.has_dualstack_ipv6(),
            )
        )
    return sockets


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it; each connection is one."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def describe_socket(listening: socket.socket) -> str:
    """Where it listens, as people write it."""
    name = listening.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def deepen_backlog(endpoint: str) -> str:
    """A Twisted endpoint string that listens, with our backlog where it names none."""
    kind = endpoint.partition(":")[0]
    if kind not in ("tcp", "tcp6", "ssl", "unix") or ":backlog=" in endpoint:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"


def _bind_unix(path: Path) -> socket.socket:
    """A socket at a path, open to every user of the machine, as Twisted makes it."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
        path.unlink()  # left by a process that was killed
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"{error.strerror} ({path})") from error
    return listening


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
