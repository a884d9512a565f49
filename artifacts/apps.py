from django.apps import AppConfig


class ArtifactsConfig(AppConfig):
    name = "artifacts"

    def ready(self) -> None:
        """Register the system checks."""
        from artifacts import checks  # noqa: F401
