"""Which organizations a user sees: on the user's page, and in a list of all who are limited. Each change is recorded.

Whoever is limited gives no limits, or they could see more by their own doing.
"""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from audit import access, acts
from audit.acts import Act, Target
from audit.models import OrganizationLimit

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[OrganizationLimit]
    StackedInline = admin.StackedInline[OrganizationLimit, Any]
    ModelForm = forms.ModelForm[OrganizationLimit]
    FormSet = BaseInlineFormSet[OrganizationLimit, Any, Any]
else:
    ModelAdmin, StackedInline, ModelForm, FormSet = (
        admin.ModelAdmin,
        admin.StackedInline,
        forms.ModelForm,
        BaseInlineFormSet,
    )

_HELP = "With none chosen, the user sees nothing of any organization. Superusers see all."


class _UnlimitedOnly:
    """Mixed into the admins of limits: refuses who is limited themselves."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return cast(bool, super().has_view_permission(request, obj)) and access.sees_all(request.user)  # type: ignore[misc]

    def has_add_permission(self, request: HttpRequest, *obj: Any) -> bool:
        return cast(bool, super().has_add_permission(request, *obj)) and access.sees_all(request.user)  # type: ignore[misc]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return cast(bool, super().has_change_permission(request, obj)) and access.sees_all(request.user)  # type: ignore[misc]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return cast(bool, super().has_delete_permission(request, obj)) and access.sees_all(request.user)  # type: ignore[misc]


class LimitForm(ModelForm):
    """A limit as part of a user's page: a box to tick, so that a limit to nothing is not taken for an empty form."""

    is_limited = forms.BooleanField(required=False, label="Sees only the organizations below")

    class Meta:
        model = OrganizationLimit
        fields = ["organizations"]
        help_texts = {"organizations": _HELP}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["is_limited"] = self.instance.pk is not None

    def clean(self) -> dict[str, Any]:
        """Refuse organizations that would mean nothing."""
        cleaned = super().clean() or {}
        is_new = self.instance.pk is None
        if is_new and cleaned.get("organizations") and not cleaned.get("is_limited"):
            raise ValidationError("Tick the box as well, or choose no organizations: without it the user sees all.")
        return cleaned


class LimitFormSet(FormSet):
    """Saves the limit, takes it away when the box is no longer ticked, and records either."""

    request: HttpRequest

    def save_new(self, form: Any, commit: bool = True) -> OrganizationLimit:
        limit: OrganizationLimit = super().save_new(form, commit)
        if commit:
            record(self.request, Act.ADDED, limit)
        return limit

    def save_existing(self, form: Any, obj: OrganizationLimit, commit: bool = True) -> OrganizationLimit:
        if commit and not form.cleaned_data["is_limited"]:
            record(self.request, Act.DELETED, obj)
            obj.delete()
            return obj
        limit: OrganizationLimit = super().save_existing(form, obj, commit)
        if commit:
            record(self.request, Act.CHANGED, limit)
        return limit


class OrganizationLimitInline(_UnlimitedOnly, StackedInline):
    """For the page of a user."""

    model = OrganizationLimit
    form = LimitForm
    formset = LimitFormSet
    fields = ["is_limited", "organizations"]
    autocomplete_fields = ["organizations"]
    can_delete = False
    max_num = 1
    verbose_name = verbose_name_plural = "Organizations"

    def get_formset(self, request: HttpRequest, obj: Model | None = None, **kwargs: Any) -> Any:
        """One that knows who asks."""
        formset = super().get_formset(request, obj, **kwargs)
        return type("LimitFormSet", (formset,), {"request": request})


@admin.register(OrganizationLimit)
class OrganizationLimitAdmin(_UnlimitedOnly, ModelAdmin):
    records_itself = True  # with the organizations
    list_display = ["user", "seen"]
    list_select_related = ["user"]
    ordering = ["user__username"]
    search_fields = ["user__username"]
    autocomplete_fields = ["user", "organizations"]
    actions = None  # deletes one by one, so that each is recorded

    def get_form(
        self, request: HttpRequest, obj: OrganizationLimit | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return super().get_form(request, obj, change, **{"help_texts": {"organizations": _HELP}, **kwargs})

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrganizationLimit]:
        return super().get_queryset(request).prefetch_related("organizations")

    def get_readonly_fields(self, request: HttpRequest, obj: OrganizationLimit | None = None) -> list[str]:
        return ["user"] if obj else []

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save which organizations it is, and record that."""
        super().save_related(request, form, formsets, change)
        record(request, Act.CHANGED if change else Act.ADDED, form.instance)

    def delete_model(self, request: HttpRequest, obj: OrganizationLimit) -> None:
        record(request, Act.DELETED, obj)
        super().delete_model(request, obj)

    @admin.display(description="organizations")
    def seen(self, limit: OrganizationLimit) -> str:
        """The first few, by name."""
        names = [str(each) for each in limit.organizations.all()]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return ", ".join(names[:_SHOWN]) + more if names else "none: sees nothing"


_SHOWN = 3


def record(request: HttpRequest, act: Act, limit: OrganizationLimit) -> None:
    """Write down whose limit it is and to which organizations; of many, the first and how many there are."""
    organizations = [str(each) for each in limit.organizations.values_list("pk", flat=True)]
    target = Target("OrganizationLimit", str(limit.user.pk), limit.user.get_username())
    acts.record(request, act, target, organizations=organizations, count=len(organizations))
