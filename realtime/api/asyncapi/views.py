"""The document as JSON, and as a page."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from realtime.api.asyncapi.document import build_document
from realtime.api.asyncapi.page import build_page
from realtime.conf import get_settings


@login_not_required
@require_safe
def show_document(request: HttpRequest) -> JsonResponse:
    """`GET /api/asyncapi.json`: open to all, as the protocol is."""
    return JsonResponse(_build(request), json_dumps_params={"ensure_ascii": False})


@login_not_required
@require_safe
def show_page(request: HttpRequest) -> HttpResponse:
    """`GET /api/asyncapi/`."""
    return render(request, "realtime/asyncapi/page.html", build_page(_build(request)))


def _build(request: HttpRequest) -> dict[str, Any]:
    return build_document(get_settings(), host=request.get_host(), secure=request.is_secure())
