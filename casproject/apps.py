from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class CasProjectConfig(AppConfig):
    name = "casproject"

    def ready(self) -> None:
        """Register the system checks."""
        from casproject import checks, deployment_checks  # noqa: F401


class CasAdminConfig(AdminConfig):
    default_site = "casproject.admin_site.CasAdminSite"
