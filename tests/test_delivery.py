"""Nothing is lost untold, nothing comes twice, whatever chance does: 300 small worlds."""

import pytest

from tests.delivery_model import run_seed


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "wild"])
def test_every_client_has_everything_or_is_told_what_it_lost(seed: int, strict: bool) -> None:
    run_seed(seed, strict=strict)
