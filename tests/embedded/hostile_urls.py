"""Ours beside a view of the project's own, which keeps its settings."""

from django.urls import include, path
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.views import APIView

from realtime.api.health import live
from realtime.api.schema import SchemaView

handler404 = "realtime.api.errors.answer_not_found"
handler500 = "realtime.api.errors.answer_server_error"


class OwnView(APIView):
    """The project's."""

    versioning_class = None

    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = (JSONRenderer,)

    def get(self, request):
        raise AssertionError("nobody may get here")


urlpatterns = [
    path("livez", live),  # by which tests see that it has started
    path("own/", OwnView.as_view()),
    path("live/api/schema/", SchemaView.as_view()),
    path("live/api/", include("accounts.urls")),
    path("live/api/browser/", include("accounts.browser.urls")),
    path("live/", include("realtime.urls")),
]
