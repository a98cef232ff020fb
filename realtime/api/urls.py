"""REST paths: section 9 of the protocol."""

from django.urls import path

from realtime.api.asyncapi.views import show_document, show_page
from realtime.api.presence import PresenceView
from realtime.api.publications import PublicationsView
from realtime.api.sessions import SessionsView, SessionView
from realtime.api.statistics import StatisticsView
from realtime.api.topics import TopicsView

app_name = "realtime"
urlpatterns = [
    path("asyncapi.json", show_document, name="asyncapi-document"),
    path("asyncapi/", show_page, name="asyncapi"),
    path("sessions/", SessionsView.as_view(), name="sessions"),
    path("sessions/<str:id>/", SessionView.as_view(), name="session"),
    path("topics/", TopicsView.as_view(), name="topics"),
    path("topics/<str:topic>/publications/", PublicationsView.as_view(), name="publications"),
    path("topics/<str:topic>/presence/", PresenceView.as_view(), name="presence"),
    path("topics/<str:topic>/stats/", StatisticsView.as_view(), name="stats"),
]
