"""What concerns all sessions of a user is asked about first, on a page that shows whom it meets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from realtime.admin.endings import MAX_USERS, ban_users, disconnect_users
from realtime.models import Session

DEEDS = {"ban": ban_users, "disconnect": disconnect_users}
DONE = {
    "ban": "{} banned, with all their sessions.",
    "disconnect": "{} told to disconnect everywhere.",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The users that a deed means, and whom it leaves out, in words."""

    users: Sequence[Any]
    left_out: Sequence[str]


def confirm(
    model_admin: Any, request: HttpRequest, sessions: Any, *, deed: str
) -> HttpResponse | None:
    """The page that asks; None, with a message, where the chosen sessions have no such user."""
    keys = sessions.exclude(user=None).order_by().values_list("user", flat=True).distinct()
    choice = _choose(list(keys[: MAX_USERS + 1]), actor=request.user, deed=deed)
    if not choice.users:
        reasons = choice.left_out or ["None of the chosen sessions is signed in."]
        for reason in reasons:
            model_admin.message_user(request, reason, messages.WARNING)
        return None
    live = Session.objects.live().filter(user__in=choice.users).order_by().values_list("user")
    counts = dict(live.annotate(count=Count("pk")))
    context = {
        **model_admin.admin_site.each_context(request),
        "is_nav_sidebar_enabled": False,
        "title": "Ban users" if deed == "ban" else "Disconnect users",
        "opts": model_admin.opts,
        "media": model_admin.media,
        "deed": deed,
        "users": [(user, counts.get(user.pk, 0)) for user in choice.users],
        "left_out": choice.left_out,
        "filters": request.GET.urlencode(),
    }
    return TemplateResponse(request, "admin/realtime/session/confirm.html", context)


def end_confirmed(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """Do what was confirmed, and go back to the list."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    deed = request.POST.get("deed", "")
    if deed not in DEEDS:
        raise SuspiciousOperation("there is no such deed")
    if not getattr(model_admin, f"has_{deed}_permission")(request):
        raise PermissionDenied
    choice = _choose(request.POST.getlist("user"), actor=request.user, deed=deed)
    outcome = DEEDS[deed](choice.users, actor=request.user)
    users = f"{outcome.done} user{'s were' if outcome.done != 1 else ' was'}"
    model_admin.message_user(request, DONE[deed].format(users), messages.SUCCESS)
    if outcome.failure:
        model_admin.message_user(request, outcome.failure, messages.ERROR)
    address = reverse(f"{model_admin.admin_site.name}:realtime_session_changelist")
    return HttpResponseRedirect(f"{address}?{request.POST.get('filters', '')}")


def _choose(keys: Sequence[Any], *, actor: Any, deed: str) -> Choice:
    model = get_user_model()
    try:
        found = model._default_manager.filter(pk__in=keys[:MAX_USERS])
        users = list(found.order_by(model.USERNAME_FIELD))
    except (ValueError, OverflowError, ValidationError) as error:
        raise SuspiciousOperation("that is no user's key") from error
    left_out = []
    if len(keys) > MAX_USERS:
        left_out.append(f"There are more users than {MAX_USERS}, which is the most at a time.")
    if deed == "ban":
        if any(user.pk == actor.pk for user in users):
            left_out.append("You cannot ban yourself.")
        others = [user for user in users if user.pk != actor.pk]
        users = [user for user in others if actor.is_superuser or not user.is_superuser]
        if len(users) < len(others):
            left_out.append("Only a superuser bans a superuser.")
    return Choice(users, left_out)
