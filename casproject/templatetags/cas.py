"""Template filters of the admin pages."""

from django import template

from common.sizes import format_size
from common.visible_text import visible

register = template.Library()

register.filter("size", format_size)
register.filter("visible", visible)
