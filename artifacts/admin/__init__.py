"""The admin's pages: locations, artifacts, scrubs and resumable uploads."""

from artifacts.admin import artifacts, locations, scrubs, uploads

__all__ = ["artifacts", "locations", "scrubs", "uploads"]
