"""Who loses what when unfinished input takes too much: the share of one, and that of all."""

from dataclasses import dataclass, field

from realtime.conf import build_settings
from realtime.core.close_codes import CloseCode
from realtime.limits import HeldMemory
from realtime.limits.limits import open_memory

MIB = 1024 * 1024


@dataclass
class Sender:
    """Holds something, and notes what it was closed with."""

    memory: HeldMemory
    owner: str
    closes: list[CloseCode] = field(default_factory=list)
    reason: str = ""

    def __post_init__(self) -> None:
        self.holding = self.memory.open(self.owner, self._cut)

    def hold(self, size: int) -> "Sender":
        self.holding.hold(size)
        return self

    def _cut(self, code: CloseCode, reason: str) -> None:
        self.closes.append(code)
        self.reason = reason


def test_what_is_held_is_counted_until_it_is_let_go() -> None:
    memory = HeldMemory(per_owner=100, per_process=1000)
    anna, boris = Sender(memory, "user 1"), Sender(memory, "user 2")
    for size in (10, 60, 30):
        anna.hold(size)
        boris.hold(2 * size)
        assert memory.size == 3 * size if size < 60 else memory.size == 60
    anna.hold(0)
    boris.hold(0)
    assert memory.size == 0
    assert anna.closes == []


def test_an_owner_over_its_share_loses_the_oldest_and_nobody_else_does() -> None:
    memory = HeldMemory(per_owner=100, per_process=0)
    other = Sender(memory, "user 2").hold(100)
    first, second, third = (Sender(memory, "user 1").hold(40) for _ in range(3))
    assert first.closes == [CloseCode.RATE_LIMITED]
    assert first.reason == "too much unfinished input: at most 100 bytes for each user"
    assert (second.closes, third.closes, other.closes) == ([], [], [])
    assert (first.holding.size, memory.size) == (0, 180)


def test_one_that_is_over_the_share_by_itself_is_cut_itself() -> None:
    memory = HeldMemory(per_owner=100, per_process=0)
    sender = Sender(memory, "address 192.0.2.1").hold(101)
    assert sender.closes == [CloseCode.RATE_LIMITED]
    assert sender.reason.endswith("for each address")
    assert memory.size == 0


def test_age_counts_from_when_something_was_held_first_since_nothing_was() -> None:
    memory = HeldMemory(per_owner=100, per_process=0)
    one, two = Sender(memory, "user 1").hold(40), Sender(memory, "user 1").hold(40)
    one.hold(0)
    one.hold(40)
    Sender(memory, "user 1").hold(40)
    assert (one.closes, two.closes) == ([], [CloseCode.RATE_LIMITED])


def test_in_a_full_process_the_owner_with_most_loses_its_oldest() -> None:
    memory = HeldMemory(per_owner=600, per_process=1000)
    honest = Sender(memory, "user honest").hold(150)
    attackers = [Sender(memory, f"user {number % 2}").hold(15) for number in range(100)]
    assert honest.closes == []
    assert memory.size <= 1000
    cut = [attacker for attacker in attackers if attacker.closes]
    assert cut
    assert all(attacker.closes == [CloseCode.TRY_AGAIN_LATER] for attacker in cut)
    assert all(attacker.reason.startswith("retry_after=") for attacker in cut)
    for owner in ("user 0", "user 1"):
        closes = [bool(each.closes) for each in attackers if each.owner == owner]
        assert closes == sorted(closes, reverse=True)  # the oldest are gone


def test_thousands_of_connections_of_one_address_push_nobody_else_out() -> None:
    memory = HeldMemory(per_owner=64 * MIB, per_process=256 * MIB)
    honest = Sender(memory, "user 1").hold(15 * MIB)
    crowd = [Sender(memory, "address 192.0.2.1").hold(15 * MIB) for _ in range(2000)]
    assert honest.closes == []
    assert memory.size <= (15 + 64) * MIB
    assert sum(not each.closes for each in crowd) == 4
    newcomer = Sender(memory, "user 2").hold(15 * MIB)
    assert newcomer.closes == []


def test_a_holding_that_moves_counts_for_its_new_owner() -> None:
    memory = HeldMemory(per_owner=100, per_process=0)
    moving = Sender(memory, "address 192.0.2.1").hold(80)
    moving.holding.move("user 1")
    other = Sender(memory, "address 192.0.2.1").hold(80)
    assert (moving.closes, other.closes, memory.size) == ([], [], 160)
    Sender(memory, "user 1").hold(80)
    assert moving.closes == [CloseCode.RATE_LIMITED]


def test_0_lifts_a_bound() -> None:
    memory = HeldMemory(per_owner=0, per_process=0)
    senders = [Sender(memory, "user 1").hold(1 << 40) for _ in range(3)]
    assert [sender.closes for sender in senders] == [[], [], []]
    memory = open_memory(build_settings({"INPUT_BYTES_PER_USER": 0, "INPUT_BYTES": 0}))
    assert Sender(memory, "user 1").hold(1 << 40).closes == []


def test_the_longest_message_fits_twice_however_low_the_bounds_are() -> None:
    memory = open_memory(
        build_settings({"MAX_BINARY_BYTES": 5 * MIB, "INPUT_BYTES_PER_USER": 1, "INPUT_BYTES": 1})
    )
    senders = [Sender(memory, "user 1").hold(5 * MIB) for _ in range(2)]
    assert [sender.closes for sender in senders] == [[], []]
    assert Sender(memory, "user 1").hold(1).closes == []
    assert senders[0].closes == [CloseCode.RATE_LIMITED]
