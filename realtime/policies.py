"""Who may do what: the policies of a namespace, and of the echo endpoint."""

from typing import Any

from realtime.conf import Policy


def is_allowed(policy: Policy, user: Any) -> bool:
    """Whether the policy lets this user in; `user` None is an anonymous session."""
    match policy:
        case Policy.ANYONE:
            return True
        case Policy.AUTHENTICATED:
            return user is not None
        case Policy.STAFF:
            return user is not None and bool(user.is_staff)
