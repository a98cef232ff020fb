"""The paths of signing in from a page; the cookie is sent to what is below them alone."""

from django.urls import path

from accounts.browser import views

app_name = "browser"

urlpatterns = [
    path("sign-in/", views.BrowserSignInView.as_view(), name="sign-in"),
    path("refresh/", views.BrowserRefreshView.as_view(), name="refresh"),
    path("sign-out/", views.BrowserSignOutView.as_view(), name="sign-out"),
]
