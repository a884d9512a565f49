"""The client of NATS that all of ours are: it connects as configured, and never without the TLS that is demanded."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
from nats.aio.client import Client

from audit import nats_access, nkeys
from audit.nats_access import Access, AccessError


class NatsClient(Client):
    """nats-py's client, which in 2.16 speaks in the open to a server that says that it has no TLS."""

    _access: Access | None = None

    async def connect_as_configured(
        self, url: str, error_cb: Callable[[Exception], Awaitable[None]], connect_timeout: float, **options: Any
    ) -> None:
        """Connect to one of these servers (as NATS_URL has them), trying each; options are those of `connect`.

        Raises nats.errors.Error, OSError or TimeoutError.
        """
        last: list[Exception] = []

        async def note(error: Exception) -> None:
            last[:] = [error]
            await error_cb(error)

        try:
            self._access = nats_access.configured(url)
            await self._connect_with(self._access, error_cb=note, connect_timeout=connect_timeout, **options)
        except AccessError as error:
            raise nats.errors.Error(str(error)) from error
        except nats.errors.NoServersError as error:
            raise (_told(last[0], connect_timeout) if last else error) from error

    async def _connect_with(self, access: Access, **options: Any) -> None:
        if access.key is not None:
            self._public_nkey = nkeys.public_nkey(access.key)
        await self.connect(
            access.servers,
            user=access.user or None,
            password=access.password or None,
            token=access.token or None,
            signature_cb=access.sign if access.key else None,
            user_jwt_cb=access.user_jwt.encode if access.user_jwt else None,
            tls=access.tls,
            max_reconnect_attempts=1,  # `allow_reconnect=False` would not fail fast when no server is there
            reconnect_time_wait=0,
            **options,
        )

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except ssl.SSLError:
            # asyncio never says that a stream is closed whose handshake failed, and nats-py would wait until it does.
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
                self._transport = None
            raise

    def _connect_command(self) -> bytes:
        # It holds the credentials; and whoever stands between could have changed the server's greeting.
        if self._access is not None and self._access.demands_tls and not self._server_info.get("tls_required"):
            raise nats.errors.Error("nats: TLS is configured, and the server does not require it")
        return super()._connect_command()


def _told(error: Exception, seconds: float) -> Exception:
    """Why the server that was tried last did not let us in, as an error of NATS."""
    if isinstance(error, nats.errors.Error) and not isinstance(error, TimeoutError):
        return error
    return nats.errors.Error(f"nats: {reason_of(error, seconds)}")


def reason_of(error: Exception, seconds: float) -> str:
    """What is wrong, in words also where that is silence, which was waited for that long."""
    if isinstance(error, TimeoutError) and error.errno is None:  # else it is the operating system's, which says more
        return f"the server did not answer in {seconds:g} seconds"
    return str(error) or type(error).__name__
