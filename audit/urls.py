from django.urls import path

from audit.api import EventsView, UsageView

urlpatterns = [
    path("events/", EventsView.as_view(), name="events"),
    path("usage/", UsageView.as_view(), name="usage"),
]
