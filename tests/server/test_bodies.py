"""How long bodies may be, by the view that takes them, and how many are held."""

from types import SimpleNamespace

import pytest

from realtime.conf import Settings, build_settings
from realtime.server.bodies import BYTES_OF_PIECE, FREE_PIECES, Body, HeldBodies, find_body_limit
from realtime.server.refusals import Refusal

MIB = 1024 * 1024


@pytest.fixture
def settings() -> Settings:
    return build_settings(
        {
            "HTTP_BODY_BYTES": 1000,
            "HTTP_BODIES_BYTES": 2500,
            "HTTP_BODIES_BYTES_PER_ADDRESS": 1500,
            "HTTP_PATIENCE": 10,
            "HTTP_LEAST_RATE": 100,
        }
    )


def build_body(settings: Settings, held: HeldBodies, client: str, path: bytes = b"/") -> Body:
    server = SimpleNamespace(bodies=held, root_path="")
    return Body(path, client=client, server=server, settings=settings)


@pytest.mark.parametrize(
    ("path", "root_path", "most"),
    [
        (b"/api/topics/blobs:a/publications/", "", 16 * MIB),
        (b"/api/topics/blobs%3Aa/publications/", "", 16 * MIB),
        (b"/base/api/topics/blobs:a/publications/", "/base", 16 * MIB),
        (b"/base/api/topics/blobs:a/publications/", "", 1000),
        (b"/api/topics/blobs:a/publications", "", 1000),
        (b"/api/topics/a/b/publications/", "", 1000),
        (b"/api/topics/blobs:a/presence/", "", 1000),
        (b"/api/token/", "", 1000),
        (b"/admin/login/", "", 1000),
        (b"/", "", 1000),
        (b"//%ff%0a", "", 1000),
    ],
)
def test_only_the_path_of_publications_takes_long_bodies(
    settings: Settings, path: bytes, root_path: str, most: int
) -> None:
    assert find_body_limit(path, settings, root_path=root_path) == most


def test_a_body_over_its_limit_is_refused_whether_it_says_so_or_not(settings: Settings) -> None:
    body = build_body(settings, HeldBodies(settings), "192.0.2.1")
    body.allow(1000)
    with pytest.raises(Refusal, match="longer than 1000 bytes"):
        body.allow(1001)
    body.take(1000)
    with pytest.raises(Refusal, match="longer than 1000 bytes"):
        body.take(1)


def test_a_body_comes_in_pieces_of_some_size(settings: Settings) -> None:
    body = build_body(settings, HeldBodies(settings), "192.0.2.1", b"/api/topics/a:b/publications/")
    for _ in range(FREE_PIECES + FREE_PIECES // BYTES_OF_PIECE):
        body.take(1)
    with pytest.raises(Refusal, match="too small"):
        body.take(1)


def test_time_is_given_for_what_has_come(settings: Settings) -> None:
    body = build_body(settings, HeldBodies(settings), "192.0.2.1")
    assert body.patience == 10
    body.take(500)
    assert body.patience == 15


def test_an_address_and_the_process_hold_so_many_bytes(settings: Settings) -> None:
    held = HeldBodies(settings)
    bodies = [build_body(settings, held, "192.0.2.1") for _ in range(2)]
    bodies[0].take(1000)
    bodies[1].take(500)
    with pytest.raises(Refusal) as caught:
        bodies[1].take(1)
    assert caught.value.status == 429
    other = build_body(settings, held, "192.0.2.2")
    other.take(1000)
    with pytest.raises(Refusal) as caught:
        build_body(settings, held, "192.0.2.3").take(1)
    assert caught.value.status == 503
    for body in (*bodies, other):
        body.release()
        body.release()
    assert held.total == 0
    build_body(settings, held, "192.0.2.1").take(1000)
