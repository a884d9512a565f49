"""The Django project: settings, URLs, the WSGI and Celery entry points."""

from casproject.celery import app as celery_app

__all__ = ["celery_app"]
