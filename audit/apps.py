from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        """Connect the receivers and register the system checks."""
        from audit import checks, receivers  # noqa: F401
