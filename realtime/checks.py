"""System checks: what is misconfigured is named before anything runs, with the mend."""

from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from realtime.conf import Kind, Policy, Settings, get_settings
from realtime.core.errors import InvalidParameter
from realtime.core.windows import parse_window
from realtime.policies import is_permission, load_callable
from realtime.redis_checks import check_redis


@register("realtime")
def check_settings(**_: Any) -> list[CheckMessage]:
    """`REALTIME`, its namespaces, the channel layer, and whether Redis answers."""
    try:
        settings = get_settings()
    except ImproperlyConfigured as error:
        return [
            Error(
                str(error),
                hint="realtime/conf.py lists every option with its type and unit.",
                id="realtime.E001",
            )
        ]
    return [
        *_check_layer(settings),
        *_check_namespaces(settings),
        *_check_policies(settings),
        *_check_identity_loader(settings),
        *_check_rest_authentication(settings),
        *check_redis(settings),
    ]


def _check_layer(settings: Settings) -> list[CheckMessage]:
    name = settings.channel_layer
    if name not in getattr(django_settings, "CHANNEL_LAYERS", {}):
        return [
            Error(
                f"CHANNEL_LAYERS has no {name!r}.",
                hint="Add it, or name another one in REALTIME['CHANNEL_LAYER'].",
                id="realtime.E002",
            )
        ]
    is_shared = not isinstance(get_channel_layer(name), InMemoryChannelLayer)
    if is_shared != bool(settings.redis_url):
        return [
            Error(
                "The channel layer and the history have to reach equally far: one is in the "
                "memory of this process, the other is shared.",
                hint="Set REDIS_URL for both, or leave it away for both.",
                id="realtime.E003",
            )
        ]
    return []


def _check_namespaces(settings: Settings) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    for name, namespace in settings.namespaces.items():
        if namespace.kind is Kind.STATS and not namespace.history_size:
            problems.append(
                Error(
                    f"The namespace {name!r} is of kind stats and keeps no history.",
                    hint="Statistics are a view of the history: set history_size above 0.",
                    id="realtime.E004",
                )
            )
        try:
            parse_window(namespace.window)
        except InvalidParameter as error:
            problems.append(
                Error(
                    f"The namespace {name!r} has a bad window: {error.detail}",
                    hint="Write it like 100, 60s, 5m or 1h.",
                    id="realtime.E005",
                )
            )
        if namespace.processor is not None:
            try:
                import_string(namespace.processor)
            except ImportError as error:
                problems.append(
                    Error(
                        f"The processor of the namespace {name!r} cannot be loaded: {error}",
                        hint="Give the dotted path of a callable (data, *, topic, user) -> data.",
                        id="realtime.E006",
                    )
                )
    return problems


def _check_policies(settings: Settings) -> list[CheckMessage]:
    named = {"ECHO_POLICY": settings.echo_policy}
    for name, namespace in settings.namespaces.items():
        named[f"{name}.subscribe"] = namespace.subscribe
        named[f"{name}.publish"] = namespace.publish
    problems: list[CheckMessage] = []
    for place, policy in named.items():
        if policy in list(Policy):
            continue
        if is_permission(policy):
            if policy not in _list_permissions():
                problems.append(
                    Info(
                        f"The policy of {place} is a permission that no model declares: {policy}",
                        hint="Until somebody makes it in the database, superusers alone have it.",
                        id="realtime.I001",
                    )
                )
            continue
        problem = _find_problem(policy)
        if problem is not None:
            problems.append(
                Error(
                    f"The policy of {place} cannot be used: {problem}",
                    hint="Name anyone, authenticated, staff, a permission (app.codename), or the "
                    "dotted path of a callable (user, topic) -> bool.",
                    id="realtime.E008",
                )
            )
    return problems


def _check_identity_loader(settings: Settings) -> list[CheckMessage]:
    try:
        if settings.identity_loader:
            import_string(settings.identity_loader)
    except ImportError as error:
        return [
            Error(
                f"REALTIME['IDENTITY_LOADER'] cannot be loaded: {error}",
                hint="Give the dotted path of a callable "
                "(Sequence[Identity]) -> list[Identity | None], or leave it empty.",
                id="realtime.E009",
            )
        ]
    return []


def _check_rest_authentication(settings: Settings) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    for name in filter(None, settings.rest_authentication.split(",")):
        try:
            import_string(name.strip())
        except ImportError as error:
            problems.append(
                Error(
                    f"REALTIME['REST_AUTHENTICATION'] cannot be loaded: {error}",
                    hint="Give dotted paths of authentication classes of Django REST framework, "
                    "separated by commas, or leave it empty for the project's own.",
                    id="realtime.E016",
                )
            )
    return problems


def _find_problem(path: str) -> str | None:
    try:
        judge = load_callable(path)
    except ImportError as error:
        return f"{error}; and {path.partition('.')[0]!r} is no label of an installed app"
    return None if callable(judge) else f"{path} is no callable"


def _list_permissions() -> set[str]:
    return {
        f"{model._meta.app_label}.{codename}"
        for model in apps.get_models()
        for codename, _ in (
            *(
                (f"{action}_{model._meta.model_name}", "")
                for action in model._meta.default_permissions
            ),
            *model._meta.permissions,
        )
    }
