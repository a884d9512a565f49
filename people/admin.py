"""People and their roles. Whoever is limited to organizations makes and changes no accounts: another one sees more."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from audit import access, acts
from audit.acts import Act
from audit.admin.organization_limits import OrganizationLimitInline
from people import roles, two_factor
from people.views import end_sessions

if TYPE_CHECKING:
    PeopleAdmin = UserAdmin[User]
else:
    PeopleAdmin = UserAdmin

for model in (User, Group, StaticDevice, TOTPDevice):  # keys and codes are nobody's to look at
    admin.site.unregister(model)


@admin.register(User)
class PersonAdmin(PeopleAdmin):
    list_display = [
        "username",
        "email",
        "is_staff",
        "is_active",
        "is_superuser",
        "roles",
        "uses_two_factor",
        "last_login",
    ]
    actions = ["reset_two_factor", "sign_out"]
    inlines = [OrganizationLimitInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups", "totpdevice_set")

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        """None for a new user: as their roles, their limits come on the page after."""
        return super().get_inlines(request, obj) if obj else []

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all()) or "-"

    @admin.display(description="two-factor", boolean=True)
    def uses_two_factor(self, user: User) -> bool:
        return any(device.confirmed for device in user.totpdevice_set.all())  # type: ignore[attr-defined]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only superusers make superusers, give permissions one by one, or touch what a superuser is."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, "is_superuser", "user_permissions")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and access.sees_all(request.user)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, obj: User | None) -> bool:
        if request.user.is_superuser:
            return True
        return access.sees_all(request.user) and (obj is None or not obj.is_superuser)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Who is no superuser gives roles alone, not groups with permissions of which nobody knows."""
        if db_field.name == "groups" and not request.user.is_superuser:
            kwargs["queryset"] = Group.objects.filter(name__in=roles.ROLES)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Leave the user in the groups that the form does not show to who is no superuser."""
        user: User = form.instance
        hidden = [] if request.user.is_superuser else list(user.groups.exclude(name__in=roles.ROLES))
        super().save_related(request, form, formsets, change)
        user.groups.add(*hidden)

    @admin.action(description="Reset two-factor authentication", permissions=["change"])
    def reset_two_factor(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """For who lost phone and recovery codes: the next sign-in needs the password alone."""
        count = 0
        for user in self._touchable(request, users):
            if two_factor.turn_off(user):
                acts.record(request, Act.TWO_FACTOR_RESET, user)
                end_sessions(user)
                count += 1
        self.message_user(request, f"Accounts without two-factor authentication now: {count}.", messages.SUCCESS)

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """End their sessions."""
        for user in self._touchable(request, users):
            end_sessions(user)
            acts.record(request, Act.SIGNED_OUT_EVERYWHERE, user)
        self.message_user(request, "Their sessions have ended.", messages.SUCCESS)

    def _touchable(self, request: HttpRequest, users: QuerySet[User]) -> list[User]:
        return [user for user in users if self._may_touch(request, user)]

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:  # noqa: A002
        answer = super().user_change_password(request, id, form_url)
        user = self.get_object(request, id)
        if request.method == "POST" and answer.status_code == 302 and user is not None:  # noqa: PLR2004
            acts.record(request, Act.PASSWORD_CHANGED, user)
        return answer


@admin.register(Group)
class RoleAdmin(GroupAdmin):
    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """A role's permissions are the same everywhere, and set anew by each migration."""
        return super().has_change_permission(request, obj) and (obj is None or obj.name not in roles.ROLES)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.name not in roles.ROLES)
