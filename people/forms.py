"""Signing in."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.utils import timezone

from audit import acts
from people import throttle


class SignInForm(AdminAuthenticationForm):
    """Name and password, and a code: asking for that later would tell that the password is right."""

    code = forms.CharField(
        label="One-time code",
        required=False,
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "spellcheck": "false"}),
        help_text="Of your authenticator app, or a recovery code; leave it empty if you have not set up two-factor.",
    )
    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": "Please enter the correct %(username)s and password for a staff account, and the one-time "
        "code if you use one. Note that name and password may be case-sensitive.",
        "locked": "Too many attempts. Try again in %(minutes)s.",
    }

    def clean(self) -> dict[str, Any]:
        """Refuse who is locked out, then what does not fit; both look the same for names that nobody has."""
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not name or not password:
            return self.cleaned_data
        address = acts.address_of(self.request) if self.request is not None else ""
        self._refuse_locked(name, address)
        code = self.cleaned_data.get("code", "")
        self.user_cache = authenticate(self.request, username=name, password=password, code=code)
        if self.user_cache is None:
            self._refuse_locked(name, address)
            raise self.get_invalid_login_error()
        self.confirm_login_allowed(self.user_cache)
        return self.cleaned_data

    def _refuse_locked(self, name: str, address: str) -> None:
        if until := throttle.locked_until(throttle.counters(name, address)):
            minutes = max(1, round((until - timezone.now()).total_seconds() / 60))
            words = f"{minutes} minute{'' if minutes == 1 else 's'}"
            raise ValidationError(self.error_messages["locked"], code="locked", params={"minutes": words})


class CodeForm(forms.Form):
    """A code alone."""

    code = forms.CharField(
        label="One-time code",
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}),
    )
