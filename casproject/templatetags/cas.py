"""Template filters of the admin pages."""

from django import template

from common.visible_text import visible

register = template.Library()

register.filter("visible", visible)
