"""Django in a process of its own, as a cron job has it: `python -m tests.revocation.job`.

Runs the Python text in each line of JSON on standard input, and answers with a line of JSON: what
the text left in `result`, when it was done, and the traceback where it failed.
"""

import json
import sys
import time
import traceback
from typing import Any

import django

django.setup()

from django.contrib.auth.models import Group, Permission  # noqa: E402
from django.db import transaction  # noqa: E402

import realtime  # noqa: E402
from accounts.models import SignIn, User  # noqa: E402
from accounts.tokens import issue_access_token, issue_tokens  # noqa: E402
from tests.revocation.settings import PROCESSED, REFUSED, STUCK  # noqa: E402

for folder in (PROCESSED, REFUSED, STUCK):
    folder.mkdir(exist_ok=True)


def make_user(name: str, *permissions: str, group: str = "", **fields: Any) -> dict[str, Any]:
    """A user, with permissions, in a group or not; the key, and a pair of tokens."""
    user = User.objects.create(username=name, **fields)
    user.user_permissions.set(find_permissions(*permissions))
    if group:
        user.groups.set([Group.objects.get_or_create(name=group)[0]])
    return {"pk": user.pk, "name": name, **sign_in(name)}


def make_group(name: str, *permissions: str) -> None:
    """A group that has these permissions."""
    group, _ = Group.objects.get_or_create(name=name)
    group.permissions.set(find_permissions(*permissions))


def find_permissions(*names: str) -> list[Permission]:
    """The permissions `app.codename`."""
    pairs = [name.split(".") for name in names]
    return [Permission.objects.get(content_type__app_label=a, codename=c) for a, c in pairs]


def sign_in(name: str) -> dict[str, str]:
    """The tokens of a new sign-in."""
    pair = issue_tokens(get(name))
    return {"access": pair.access, "refresh": pair.refresh}


def get(name: str) -> User:
    """A user as the database has it now."""
    return User.objects.get(username=name)


def change(name: str, **fields: Any) -> None:
    """Change a user as the admin's form does, and as most code: load, set, save."""
    user = get(name)
    for field, value in fields.items():
        setattr(user, field, value)
    user.save()


NAMES = {
    **{f.__name__: f for f in (make_user, make_group, find_permissions, sign_in, get, change)},
    **{f.__name__: f for f in (issue_access_token, issue_tokens)},
    **{m.__name__: m for m in (User, SignIn, Group, Permission)},
    "realtime": realtime,
    "transaction": transaction,
    "PROCESSED": PROCESSED,
    "REFUSED": REFUSED,
    "STUCK": STUCK,
}

if __name__ == "__main__":
    for line in sys.stdin:
        names: dict[str, Any] = {**NAMES, "result": None}
        error = None
        try:
            exec(json.loads(line), names)
        except Exception:  # noqa: BLE001 (it is told to the test)
            error = traceback.format_exc()
        answer = {"result": names["result"], "at": time.time(), "error": error}
        print(json.dumps(answer), flush=True)
