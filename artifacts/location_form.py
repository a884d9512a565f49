"""The admin's form of a location: readable options, and credentials that go in and never come out."""

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.forms.fields import InvalidJSONInput

from artifacts.models import Location
from artifacts.storage.backends import backend_names
from artifacts.storage.hosts import HostNotAllowed, check_options
from common.sizes import parse_size

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Location]
else:
    ModelForm = forms.ModelForm

_NAMED_BY_TOKENS = " Artifacts are kept under it: once it is changed, tokens that use the old one find nothing."
_JSON_AREA = {"class": "cas-json", "rows": 5, "spellcheck": "false", "autocomplete": "off"}


class IndentedJSONField(forms.JSONField):
    """JSON over several lines; what is no JSON stays as it was typed."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, InvalidJSONInput):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False, cls=self.encoder)


class WriteOnlyTextarea(forms.Textarea):
    """Never shows what it was given, not even when the form comes back with an error."""

    def format_value(self, value: Any) -> None:
        return None


class SizeField(forms.IntegerField):
    """A number of bytes, which may be written with a unit."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> int | None:
        try:
            return parse_size(value) if value not in self.empty_values else None
        except ValueError as error:
            raise ValidationError(str(error)) from error


class LocationForm(ModelForm):
    backend = forms.ChoiceField(
        choices=lambda: [(name, name) for name in backend_names()],
        help_text=Location._meta.get_field("backend").help_text,
    )
    options = IndentedJSONField(
        required=False,
        initial=dict,
        widget=forms.Textarea(attrs=_JSON_AREA),
        help_text=Location._meta.get_field("options").help_text,
    )
    quota_bytes = SizeField(
        label="Quota",
        required=False,
        min_value=0,
        help_text="How much may be stored in all, such as 500GB or 1.5TiB; empty: no limit.",
    )
    # Not `credentials`: under that name the admin would show a reader the model's property.
    new_credentials = forms.JSONField(label="Credentials", required=False, widget=WriteOnlyTextarea(attrs=_JSON_AREA))
    remove_credentials = forms.BooleanField(label="Remove the credentials", required=False)

    class Meta:
        model = Location
        fields = ["name", "backend", "options", "organization", "quota_bytes", "proof_of_possession"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        location = self.instance
        is_set = bool(location.encrypted_credentials)
        self.fields["new_credentials"].help_text = (
            "Options that are kept encrypted and never shown, as a JSON object. "
            + ("Credentials are set; leave this blank to keep them." if is_set else "None are set.")
        )
        if not is_set:
            del self.fields["remove_credentials"]
        if location.pk is not None:
            self._keep_backend(location.backend)
            if location.artifacts.exists():
                for name in ("name", "backend"):
                    self.fields[name].help_text += _NAMED_BY_TOKENS

    def _keep_backend(self, name: str) -> None:
        """Offer a backend that is no longer configured, lest the browser silently choose another."""
        field = self.fields["backend"]
        if isinstance(field, forms.ChoiceField) and name not in backend_names():
            field.choices = [(name, f"{name} (unknown)"), *((known, known) for known in backend_names())]

    def clean_options(self) -> dict[str, Any]:
        return _require_object(self.cleaned_data["options"] or {})

    def clean_new_credentials(self) -> dict[str, Any] | None:
        value = self.cleaned_data["new_credentials"]
        if value is None:
            return None
        if not value:
            raise ValidationError("This is empty. Leave the field blank to change nothing.")
        return _require_object(value)

    def clean(self) -> dict[str, Any]:
        """Encrypt what was entered, so that a missing key is an error of the form."""
        data = super().clean() or self.cleaned_data
        entered, is_removed = data.get("new_credentials"), data.get("remove_credentials", False)
        if entered and is_removed:
            self.add_error("remove_credentials", "Either enter credentials or remove them.")
        elif is_removed:
            self.instance.credentials = {}
        elif entered:
            try:
                check_options(entered, resolve=True)
                self.instance.credentials = entered
            except (ImproperlyConfigured, HostNotAllowed) as error:
                self.add_error("new_credentials", str(error))
        return data


def _require_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError("This must be a JSON object.")
    return value
