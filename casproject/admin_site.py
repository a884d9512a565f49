"""The admin site: Django's, with the overview at its front, and everything that is changed in it in the trail."""

from collections.abc import Iterable
from typing import Any, cast

from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path

from audit import acts
from audit.acts import Act
from people import views
from people.forms import SignInForm


class Recorded:
    """Mixed into each ModelAdmin that is registered: where Django keeps its own log of changes, so does the trail.

    One that has more to say, or knows better when, records it itself, and says so by `records_itself`.
    """

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, Act.ADDED, obj)
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, Act.CHANGED, obj, fields=_changed(message))
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for each in queryset:
            self._record(request, Act.DELETED, each)
        return super().log_deletions(request, queryset)  # type: ignore[misc]

    def _record(self, request: HttpRequest, act: Act, obj: Model, **details: Any) -> None:
        if not getattr(self, "records_itself", False):
            acts.record(request, act, obj, **details)


def _changed(message: Any) -> list[str]:
    """Names of fields, never their values: one may be a secret."""
    if not isinstance(message, list):
        return []
    return [str(field) for each in message for part in each.values() for field in part.get("fields", [])]


class CasAdminSite(AdminSite):
    site_title = site_header = "Artifact CAS"
    index_title = "Overview"
    site_url = None  # "View site" would only lead back here
    login_form = SignInForm
    login_template = "people/login.html"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        base = admin_class or ModelAdmin
        recorded = type(base.__name__, (Recorded, base), {"__module__": base.__module__, "__doc__": base.__doc__})
        super().register(model_or_iterable, recorded, **options)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The overview, above the list of what there is to look at."""
        from audit.admin import overview  # noqa: PLC0415  (pages register with this site, which must be there)

        return super().index(request, {**overview.context(request), **(extra_context or {})})

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        answer = super().password_change(request, extra_context)
        if request.method == "POST" and answer.status_code == 302:  # noqa: PLR2004
            acts.record(request, Act.PASSWORD_CHANGED, cast(User, request.user))
        return answer

    def get_urls(self) -> list[URLPattern | URLResolver]:
        def two_factor(request: HttpRequest) -> HttpResponse:
            return views.two_factor_view(request, self)

        return [
            path("two-factor/", self.admin_view(two_factor), name="two_factor"),
            path("sign-out-everywhere/", self.admin_view(views.sign_out_everywhere), name="sign_out_everywhere"),
            *super().get_urls(),
        ]
