"""All faults, by name."""

from tests.chaos.faults import broker, control, database, machine, nats, web, workers
from tests.chaos.faults.base import Fault

_MODULES = (control, nats, broker, workers, web, database, machine)
FAULTS: dict[str, type[Fault]] = {
    value.__name__: value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(value, type)
    and issubclass(value, Fault)
    and value.__module__ == module.__name__
    and not value.__name__.startswith("_")
}
