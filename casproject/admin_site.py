"""The admin site: Django's, with the overview at its front."""

from django.contrib.admin import AdminSite


class CasAdminSite(AdminSite):
    site_title = site_header = "Artifact CAS"
    index_title = "Overview"
    site_url = None  # "View site" would only lead back here
