from django.apps import AppConfig


class CasProjectConfig(AppConfig):
    name = "casproject"

    def ready(self) -> None:
        """Register the system checks."""
        from casproject import checks  # noqa: F401
