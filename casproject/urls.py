from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from casproject import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("", include("artifacts.urls")),
]

handler400 = "artifacts.api_errors.bad_request"
handler404 = "artifacts.api_errors.not_found"
handler500 = "artifacts.api_errors.server_error"
