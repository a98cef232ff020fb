"""Who is on the other side of a session."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in user, as the authentication in front of this package reports one.

    `user` is a Django user. `sid` names the sign-in that the credential descends from, so that
    signing out can end every session that came from it; it is no secret. `expires_at` is in
    seconds since the epoch; None: it ends with what it rests on. `session_key` is that of the
    Django session that it rests on, where it does; it is a secret.
    """

    user: Any
    sid: str | None = None
    expires_at: float | None = None
    session_key: str | None = field(default=None, repr=False)
