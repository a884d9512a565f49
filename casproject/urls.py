from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from casproject import openapi

# Not here: /livez and /readyz, which casproject/health.py answers before any host is looked at.
urlpatterns = [
    path("", include("artifacts.urls")),  # first, for they are asked for most
    path("api/", include("audit.urls")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/schema/", openapi.schema, name="api-schema"),
    path("api/docs/", openapi.page, name="api-docs"),
]

handler400 = "artifacts.api_errors.bad_request"
handler404 = "artifacts.api_errors.not_found"
handler500 = "artifacts.api_errors.server_error"
