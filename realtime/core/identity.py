"""Who is on the other side of a session."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in user, as the authentication in front of this package reports one.

    `user` is a Django user. `sid` names the sign-in that the token descends from, so that
    signing out can end every session that came from it. `expires_at` is in seconds since
    the epoch.
    """

    user: Any
    sid: str | None
    expires_at: float
