"""Who waits makes room, and who is busy does not."""

from dataclasses import dataclass, field

from realtime.conf import build_settings
from realtime.server.admission import Admission


@dataclass(eq=False)
class Visitor:
    address: str = "192.0.2.1"
    evicted: list[bool] = field(default_factory=list)

    def evict(self) -> None:
        self.evicted.append(True)


def open_door(most: int, of_address: int, *, counts_addresses: bool = True) -> Admission:
    settings = build_settings(
        {"HTTP_CONNECTIONS_PER_PROCESS": most, "HTTP_CONNECTIONS_PER_ADDRESS": of_address}
    )
    return Admission(settings, counts_addresses=counts_addresses)


def test_who_has_waited_longest_goes() -> None:
    door = open_door(10, 2)
    first, second, third = Visitor(), Visitor(), Visitor()
    other = Visitor("192.0.2.2")
    assert all(door.admit(visitor) for visitor in (other, first, second))
    door.note_busy(first)
    door.note_waiting(first)
    assert door.admit(third)
    assert second.evicted
    assert not first.evicted
    assert not other.evicted


def test_nobody_who_is_busy_goes() -> None:
    door = open_door(10, 2)
    busy = [Visitor(), Visitor()]
    for visitor in busy:
        assert door.admit(visitor)
        door.note_busy(visitor)
    assert not door.admit(Visitor())
    assert door.admit(Visitor("192.0.2.2"))
    door.remove(busy[0])
    assert door.admit(Visitor())


def test_all_addresses_share_the_room_of_the_process() -> None:
    door = open_door(3, 2)
    visitors = [Visitor(f"192.0.2.{number}") for number in range(10)]
    assert all(door.admit(visitor) for visitor in visitors)
    assert [bool(visitor.evicted) for visitor in visitors] == [True] * 7 + [False] * 3


def test_one_network_of_ipv6_counts_as_one_address() -> None:
    door = open_door(10, 1)
    first = Visitor("2001:db8::1")
    assert door.admit(first)
    assert door.admit(Visitor("2001:db8::2"))
    assert first.evicted


def test_a_socket_file_and_a_proxy_have_no_address() -> None:
    door = open_door(10, 1)
    assert all(door.admit(visitor) for visitor in (Visitor(""), Visitor("")))
    door = open_door(10, 1, counts_addresses=False)
    visitors = [Visitor(), Visitor()]
    assert all(door.admit(visitor) for visitor in visitors)
    assert not visitors[0].evicted


def test_nothing_stays_behind() -> None:
    door = open_door(10, 5)
    visitors = [Visitor(f"192.0.2.{number % 3}") for number in range(9)]
    for visitor in visitors:
        door.admit(visitor)
    for visitor in visitors:
        door.remove(visitor)
        door.remove(visitor)  # evicted, and lost afterwards
    assert all(door.admit(Visitor("192.0.2.1")) for _ in range(5))


def test_0_lifts_a_limit() -> None:
    door = open_door(0, 0)
    visitors = [Visitor() for _ in range(3000)]
    assert all(door.admit(visitor) for visitor in visitors)
    assert not any(visitor.evicted for visitor in visitors)
