"""A minute of small worlds made by chance, some thousand: `run_seed` repeats one that failed."""

import random
from collections.abc import Callable

from tests.delivery_model import run_seed
from tests.soak.pace import last

SECONDS = 60.0


def test_every_client_has_everything_or_is_told_what_it_lost(
    chance: Callable[[object], random.Random],
) -> None:
    dice, runs = chance("worlds"), 0
    for _ in last(SECONDS):
        run_seed(dice.getrandbits(32), strict=runs % 2 == 0)
        runs += 1
    print(f"{runs} runs")
    assert runs
