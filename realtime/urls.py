"""HTTP paths of this package."""

from django.urls import include, path

from realtime.api.health import live, ready
from realtime.api.metrics import metrics

urlpatterns = [
    path("livez", live),
    path("readyz", ready),
    path("metrics", metrics),
    path("api/", include("realtime.api.urls")),
]
