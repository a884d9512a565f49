"""Makes a location without the admin, or changes it: for scripts, and for `make run`."""

from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError

from artifacts.credentials import CredentialsUnreadable
from artifacts.management.arguments import byte_size, json_file, json_object
from artifacts.models import Location
from artifacts.storage.hosts import HostNotAllowed, check_options

if TYPE_CHECKING:
    from django.db.models import Field


class Command(BaseCommand):
    help = (
        "Create a location. One that exists is left as it is: exit status 0 when it has all that is asked for, 1 when "
        "it does not and there is no --update."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the secret-id of its tokens")
        parser.add_argument("--backend", default="FILESYSTEM", help="kind of location (default: %(default)s)")
        parser.add_argument("--options", type=json_object, metavar="JSON", help="the storage class's options")
        parser.add_argument(
            "--credentials-from",
            dest="credentials",
            type=json_file,
            metavar="FILE",
            help="options that are kept encrypted, as JSON in a file; - is standard input",
        )
        parser.add_argument("--organization", help="only this organization's tokens may use it")
        parser.add_argument(
            "--quota", dest="quota_bytes", type=byte_size, help="how much it may hold, such as 500GB (default: any)"
        )
        parser.add_argument(
            "--proof-of-possession",
            action=BooleanOptionalAction,
            help="an upload is told that the artifact is there only once it has sent all of it (default: no)",
        )
        parser.add_argument("--folder", help="for FILESYSTEM: its folder, created when it does not exist")
        parser.add_argument("--update", action="store_true", help="change one that exists to what is asked for")

    def handle(self, *, name: str, backend: str, folder: str | None, **options: Any) -> None:
        """Create or change it if need be; fail with what is wrong with its settings."""
        if folder is not None and backend != "FILESYSTEM":
            raise CommandError("--folder is for FILESYSTEM.")
        location = Location.objects.filter(backend=backend, name=name).first() or Location(name=name, backend=backend)
        is_new = location.pk is None
        try:
            differing = _set(location, folder, options)
            if not is_new and not differing:
                self.stdout.write(f"Location {location} exists.")
                return
            if not is_new and not options["update"]:
                raise CommandError(f"{location} exists, and differs in: {', '.join(differing)}. --update changes that.")
            _save(location, folder)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        except (ImproperlyConfigured, HostNotAllowed) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{'Created' if is_new else 'Changed'} location {location}.")


def _set(location: Location, folder: str | None, options: dict[str, Any]) -> list[str]:
    """Give the location what is asked for; return the names of what it had otherwise. Raises ValidationError."""
    asked = {name: options[name] for name in ("options", "organization", "quota_bytes", "proof_of_possession")}
    if folder is not None:
        given = location.options if asked["options"] is None else asked["options"]
        asked["options"] = {**given, "location": str(Path(folder).absolute())}
    differing = []
    for name, text in asked.items():
        field = cast("Field[Any, Any]", Location._meta.get_field(name))
        value = None if text is None else field.to_python(text)
        if value is not None and getattr(location, name) != value:
            setattr(location, name, value)
            differing.append(name)
    secret = options["credentials"]
    if secret is not None and _credentials(location) != secret:
        check_options(secret, resolve=True)
        location.credentials = secret
        differing.append("credentials")
    return differing


def _credentials(location: Location) -> dict[str, Any] | None:
    try:
        return location.credentials
    except CredentialsUnreadable:
        return None


def _save(location: Location, folder: str | None) -> None:
    """Save it, with its folder, if it may be saved; raises ValidationError."""
    location.clean_fields()
    if folder is not None:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{folder} cannot be made: {error.strerror}.") from error
    location.full_clean()
    location.save()
