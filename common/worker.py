"""The Celery worker that this code runs in."""

from celery.worker import state


def is_ending() -> bool:
    """Whether it was told to end: a warm shutdown waits for its tasks, and whoever asked for it may not."""
    # They are exit statuses when set, of which 0 is one.
    flags = [getattr(state, name) for name in ("should_stop", "should_terminate")]
    return any(flag is not None and flag is not False for flag in flags)
