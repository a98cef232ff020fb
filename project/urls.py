"""HTTP paths."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("accounts.urls")),
    path("api/browser/", include("accounts.browser.urls")),
    path("", include("realtime.urls")),
    path("", include("demo.urls")),
]
