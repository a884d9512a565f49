"""Upkeep of what is kept of people."""

from celery import shared_task
from django.contrib.sessions.models import Session
from django.utils import timezone

from people import throttle


@shared_task
def sweep() -> None:
    """Remove sessions that have expired, and failed sign-ins that are forgotten."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    throttle.sweep()
