"""Sign-ins and users that are over: 4505 on every instance, and nobody else notices."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import Stage, User
from tests.revocation.scenes import change
from tests.revocation.settings import READ
from tests.revocation.watchers import PATIENCE, watch

Report = Callable[[str], None]
PASSWORD = "a long enough password for tests"

CAUSES = {
    "deactivated": "change({name!r}, is_active=False)",
    "deactivated, that field alone saved": (
        "user = get({name!r}); user.is_active = False; user.save(update_fields=['is_active'])"
    ),
    "new password": f"user = get({{name!r}}); user.set_password({PASSWORD!r}); user.save()",
    "unusable password": "user = get({name!r}); user.set_unusable_password(); user.save()",
    "deleted": "get({name!r}).delete()",
    "deleted by a query set": "User.objects.filter(username={name!r}).delete()",
    "in a transaction that takes a while": (
        "import time\n"
        "with transaction.atomic():\n"
        "    change({name!r}, is_active=False)\n"
        "    time.sleep(0.3)"
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
async def test_who_is_no_longer_a_user_is_out_within_two_seconds(
    stage: Stage, report: Report, cause: str
) -> None:
    user = await stage.make_user(READ, password="!")
    text = CAUSES[cause].format(name=user.name)
    report(str(await change(stage, user, text, CloseCode.REVOKED)))


async def test_a_change_that_is_rolled_back_ends_nothing(stage: Stage) -> None:
    user = await stage.make_user(READ)
    async with watch(stage.servers, [f"crew/{stage.make_name()}/"], user.access) as watchers:
        await stage.run(
            "try:\n"
            "    with transaction.atomic():\n"
            f"        change({user.name!r}, is_active=False)\n"
            "        raise LookupError\n"
            "except LookupError:\n"
            "    pass"
        )
        await asyncio.sleep(0.3)
        for watcher in watchers:
            await watcher.check_alive()


async def test_signing_out_ends_what_came_from_that_sign_in_alone(
    stage: Stage, report: Report
) -> None:
    user = await stage.make_user(READ)
    other, _ = await stage.run(f"result = sign_in({user.name!r})")

    async def sign_out() -> float:
        at = time.time()
        answer = await asyncio.to_thread(
            httpx.post,
            f"{stage.servers[0].http}/api/token/revoke/",
            json={"refresh": user.refresh},
            timeout=PATIENCE,
        )
        assert answer.status_code == 204
        return at

    async with watch(stage.servers, [f"crew/{stage.make_name()}/", "echo/"], other["access"]) as w:
        report(str(await change(stage, user, sign_out, CloseCode.REVOKED)))
        for watcher in w:
            await watcher.check_alive()


async def test_a_new_password_by_the_admin_s_page_ends_all_sessions(
    stage: Stage, report: Report
) -> None:
    user = await stage.make_user(READ)
    admin = stage.make_name()
    await stage.run(f"User.objects.create_superuser({admin!r}, password={PASSWORD!r})")

    async def change_password() -> float:
        return await asyncio.to_thread(change_password_in_admin, stage, admin, user)

    report(str(await change(stage, user, change_password, CloseCode.REVOKED)))


def change_password_in_admin(stage: Stage, admin: str, user: User) -> float:
    """Sign in as the admin on the first instance, and give the user a new password."""
    page = f"/admin/accounts/user/{user.pk}/password/"
    options: dict[str, Any] = {"follow_redirects": True, "timeout": PATIENCE}
    with httpx.Client(base_url=stage.servers[0].http, **options) as browser:
        form = browser.get("/admin/login/").text
        browser.post(
            "/admin/login/?next=/admin/",
            data={"username": admin, "password": PASSWORD, **find_token(form)},
        )
        form = browser.get(page).raise_for_status().text
        passwords = {"password1": f"{PASSWORD}!", "password2": f"{PASSWORD}!"}
        at = time.time()
        answer = browser.post(
            page, data={**passwords, "usable_password": "true", **find_token(form)}
        )
        assert "Password changed successfully" in answer.text
    return at


def find_token(page: str) -> dict[str, str]:
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert match is not None
    return {"csrfmiddlewaretoken": match[1]}


async def test_a_new_password_saved_alone_is_no_upgrade_of_the_hash(stage: Stage) -> None:
    user = await stage.make_user(READ)
    await stage.run(f"user = get({user.name!r}); user.set_password('before'); user.save()")
    user.access = (await stage.run(f"result = sign_in({user.name!r})"))[0]["access"]
    text = (
        "from django.contrib.auth.hashers import make_password\n"
        f"user = get({user.name!r}); user.password = make_password({PASSWORD!r})\n"
        "user.save(update_fields=['password'])"
    )
    await change(stage, user, text, CloseCode.REVOKED)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("user=get({name!r})", CloseCode.DISCONNECTED),
        ("user={pk}", CloseCode.DISCONNECTED),
        ("user={pk}, code=realtime.CloseCode.REVOKED", CloseCode.REVOKED),
    ],
)
async def test_a_user_can_be_disconnected_by_code(
    stage: Stage, report: Report, arguments: str, code: CloseCode
) -> None:
    user = await stage.make_user(READ)
    call = f"realtime.disconnect({arguments.format(name=user.name, pk=user.pk)})"
    report(str(await change(stage, user, call, code)))
