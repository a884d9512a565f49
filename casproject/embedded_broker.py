"""The broker of one machine: Kombu's filesystem transport, with messages that appear whole.

Kombu creates a message's file before it writes it; a worker that looks in between reads an empty message and
stops for good, and so it does after a full disk. Select it with CELERY_BROKER_URL=embedded://.
"""

import uuid
from pathlib import Path
from queue import Empty
from time import monotonic_ns
from typing import Any, ClassVar

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.json import dumps

SCHEME = "embedded"
MAX_WAITING = 1000  # messages; Kombu lists all of them for each that it reads


class Channel(filesystem.Channel):
    """Differs in how a message is put, outlives a folder that cannot be read, and makes its own.

    It knows no fanout, which nothing here asks for: Kombu's would keep a file for each exchange, which is empty for a
    moment, or for good when its writer is killed, and then ends whoever reads it.
    """

    supports_fanout = False
    get_table = virtual.Channel.get_table  # type: ignore[assignment]  # tuples there, named here
    _delete = virtual.Channel._delete

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        Path(self.data_folder_in).mkdir(parents=True, exist_ok=True)

    def _put(  # type: ignore[override]  # as Kombu has it; the stubs differ
        self, queue: str, payload: dict[str, Any], **kwargs: Any
    ) -> None:
        # Without a worker they would pile up, and its first hour back would go into throwing them away.
        if sum(1 for _ in Path(self.data_folder_out).iterdir()) >= MAX_WAITING:
            raise ChannelError(f"No worker takes the messages in {self.data_folder_out}")
        name = f"{monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        final = Path(self.data_folder_out, name)
        partial = final.with_suffix(".partial")
        try:
            partial.write_text(dumps(payload))
            partial.replace(final)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ChannelError(f"Cannot put a message into {self.data_folder_out}") from error

    def _get(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._get(queue, *args, **kwargs)
        except OSError as error:
            raise Empty from error  # a worker that met this would end; it looks again at its next poll


class Transport(filesystem.Transport):
    Channel = Channel
    implements = virtual.Transport.implements
    default_connection_params: ClassVar[dict[str, Any]] = {}  # a host name is nothing that Kombu should warn is missing


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
