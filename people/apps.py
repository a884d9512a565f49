from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PeopleConfig(AppConfig):
    name = "people"

    def ready(self) -> None:
        """Listen to sign-ins, and give the roles their permissions after each migration."""
        from people import receivers, roles  # noqa: F401

        post_migrate.connect(roles.make_roles, dispatch_uid="people.roles")
