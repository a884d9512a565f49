"""Files that each hold something the database could not take, and wait until it does."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import django.db

logger = logging.getLogger(__name__)


def take_in_each(paths: Iterable[Path], take_in: Callable[[Path], object], nonsense: type[Exception]) -> int:
    """Have `take_in` move what each file holds into the database, and remove it; return how many it moved.

    One that it says is `nonsense`, or that no database would take, is set aside; one that cannot be read or removed
    stays. Neither holds up others. It stops when the database takes nothing yet. Several processes may do this at once.
    """
    taken = 0
    for path in paths:
        try:
            take_in(path)
        except FileNotFoundError:
            continue  # another process was faster
        except OSError:
            logger.exception("%s cannot be read or removed; it stays", path)
            continue
        except (nonsense, django.db.DataError):
            logger.exception("%s holds nothing that could be kept; it is set aside", path)
            _set_aside(path)
            continue
        except django.db.Error as error:
            logger.warning("The database takes nothing yet, and %s waits: %r", path, error)
            break
        taken += 1
    return taken


def _set_aside(path: Path) -> None:
    try:
        path.rename(path.with_suffix(".bad"))
    except OSError as error:
        logger.warning("%s could not be set aside: %s", path, error)
