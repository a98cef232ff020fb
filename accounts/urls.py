"""The token endpoints; the project mounts them under `api/`."""

from django.urls import path

from accounts import views

app_name = "accounts"

urlpatterns = [
    path("token/", views.ObtainView.as_view(), name="token"),
    path("token/refresh/", views.RefreshView.as_view(), name="token-refresh"),
    path("token/verify/", views.VerifyView.as_view(), name="token-verify"),
    path("token/revoke/", views.RevokeView.as_view(), name="token-revoke"),
]
