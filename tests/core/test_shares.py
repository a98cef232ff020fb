"""Who holds how much, and who holds most."""

import random

from realtime.core.shares import Shares


def test_the_largest_is_who_holds_most_now() -> None:
    shares = Shares()
    for holder, amount in (("a", 5), ("b", 9), ("c", 7)):
        shares.add(holder, amount)
    assert shares.find_largest() == "b"
    shares.add("b", -5)
    assert shares.find_largest() == "c"
    assert shares.find_largest(without="c") == "a"
    shares.add("a", 3)
    assert shares.find_largest() == "a"
    assert (shares.total, shares["a"], shares["nobody"], len(shares)) == (19, 8, 0, 3)


def test_nobody_is_the_largest_of_none() -> None:
    shares = Shares()
    assert shares.find_largest() is None
    shares.add("a", 1)
    assert shares.find_largest(without="a") is None
    shares.add("a", -1)
    assert (shares.find_largest(), len(shares)) == (None, 0)


def test_of_equals_it_is_the_one_that_changed_longest_ago() -> None:
    shares = Shares()
    for holder in ("b", "a", "c"):
        shares.add(holder, 1)
    assert shares.find_largest() == "b"


def test_it_agrees_with_a_plain_count_and_stays_small() -> None:
    chance, shares, plain = random.Random(3), Shares(), dict[str, int]()
    for _ in range(20_000):
        holder = f"h{chance.randint(0, 50)}"
        amount = chance.randint(-plain.get(holder, 0), 100)
        shares.add(holder, amount)
        plain[holder] = plain.get(holder, 0) + amount
        if chance.random() < 0.3:
            largest = shares.find_largest()
            assert plain[largest or ""] == max(plain.values())
    assert len(shares._heap) < 1000
