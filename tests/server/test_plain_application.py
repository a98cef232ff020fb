"""Applications of others under `serve`."""

from collections.abc import Callable

from tests.server.raw import BINARY, TEXT, RawClient, build
from tests.servers import Project, Server


def test_another_asgi_application_gets_bytes_however_long_a_message_is(
    engine_project: Project, launch: Callable[..., Server]
) -> None:
    server = launch(engine_project, "serve", "tests.server.plain_application:application")
    with RawClient(server.port) as client:
        for size in (0, 1000, 65_535, 65_536, 1_000_000):
            client.send(build(BINARY, bytes(size)))
            assert client.read_frame() == (TEXT, b"bytes %d" % size)
