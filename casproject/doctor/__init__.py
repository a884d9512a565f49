"""`manage.py doctor`: what is configured, and whether each part of it works, tried in a bounded time."""
