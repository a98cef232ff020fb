"""REST paths: section 9 of the protocol."""

from django.urls import path

from realtime.api.publications import PublicationsView

app_name = "realtime"
urlpatterns = [
    path("topics/<str:topic>/publications/", PublicationsView.as_view(), name="publications"),
]
