"""The project's pages: Django's sign-in and sign-out, a new password, and this package's paths."""

from django.contrib import admin
from django.contrib.auth import views
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("sign-in/", views.LoginView.as_view(template_name="admin/login.html")),
    path("sign-out/", views.LogoutView.as_view(next_page="/livez")),
    path("", include("realtime.urls")),
]
