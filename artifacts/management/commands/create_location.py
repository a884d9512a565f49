"""Makes a location without the admin: for scripts, and for `make run`."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from artifacts.management.arguments import byte_size
from artifacts.models import Location


class Command(BaseCommand):
    help = "Create a location; nothing happens when it exists. Credentials are entered in the admin, not here."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the secret-id of its tokens")
        parser.add_argument("--backend", default="FILESYSTEM", help="kind of location (default: %(default)s)")
        parser.add_argument("--options", type=json.loads, default={}, help="the storage class's options as JSON")
        parser.add_argument("--organization", help="only this organization's tokens may use it")
        parser.add_argument("--quota", type=byte_size, help="how much it may hold, such as 500GB (default: any)")
        parser.add_argument(
            "--proof-of-possession",
            action="store_true",
            help="an upload is told that the artifact is there only once it has sent all of it",
        )
        parser.add_argument("--folder", help="for FILESYSTEM: its folder, created when it does not exist")

    def handle(self, *, name: str, backend: str, folder: str | None, **options: Any) -> None:
        """Create it if need be; fail with what is wrong with its settings."""
        if Location.objects.filter(backend=backend, name=name).exists():
            self.stdout.write(f"Location {backend}/{name} exists.")
            return
        storage_options = options["options"]
        if folder is not None:
            if backend != "FILESYSTEM":
                raise CommandError("--folder is for FILESYSTEM.")
            storage_options = {**storage_options, "location": str(Path(folder).absolute())}
        location = Location(
            name=name,
            backend=backend,
            options=storage_options,
            organization=options["organization"],
            quota_bytes=options.get("quota"),
            proof_of_possession=options.get("proof_of_possession", False),
        )
        try:
            location.clean_fields()
            if folder is not None:
                Path(folder).mkdir(parents=True, exist_ok=True)
            location.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        except OSError as error:
            raise CommandError(f"{folder} cannot be made: {error.strerror}.") from error
        location.save()
        self.stdout.write(f"Created location {location}.")
