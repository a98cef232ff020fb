"""Who may do what."""

from types import SimpleNamespace

import pytest

from realtime.conf import Policy
from realtime.policies import is_allowed

ANONYMOUS = None
USER = SimpleNamespace(is_staff=False)
STAFF = SimpleNamespace(is_staff=True)


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (Policy.ANYONE, [ANONYMOUS, USER, STAFF]),
        (Policy.AUTHENTICATED, [USER, STAFF]),
        (Policy.STAFF, [STAFF]),
    ],
)
def test_a_policy_lets_in_those_it_names(policy: Policy, allowed: list[object]) -> None:
    assert [user for user in (ANONYMOUS, USER, STAFF) if is_allowed(policy, user)] == allowed


def test_every_policy_is_decided() -> None:
    assert all(is_allowed(policy, STAFF) is True for policy in Policy)
