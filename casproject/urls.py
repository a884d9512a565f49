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

handler400 = "casproject.error_pages.bad_request"
handler403 = "casproject.error_pages.forbidden"
handler404 = "casproject.error_pages.not_found"
handler500 = "casproject.error_pages.server_error"
