"""HTTP paths of this package."""

from django.urls import include, path

from realtime.api.health import live, ready

urlpatterns = [
    path("livez", live),
    path("readyz", ready),
    path("api/", include("realtime.api.urls")),
]
