"""A connection of a client, as its daemon: events in, answers out, each with a deadline."""

import trio

from protocol.worker.connection import ServerConnection
from protocol.worker.events import PeerClosed, ServerEvent
from protocol.worker.stderr import LogMessage
from shim.config import Deadlines
from shim.daemon.upstream import CHUNK


class ClientGone(Exception):
    """The client closed its connection, or fell silent for too long."""


class Client:
    """Owns neither the stream nor the session: `server` opens and closes the one, `session` is the other."""

    def __init__(
        self, stream: trio.SocketStream, connection: ServerConnection, deadlines: Deadlines
    ) -> None:
        self._stream = stream
        self.connection = connection
        self._deadlines = deadlines
        self._sending = trio.Lock()

    async def event(self, silence: float) -> ServerEvent:
        """The next event; waits at most `silence` seconds for each piece of it.

        Raises:
            ClientGone: closed, reset or silent.
            RemoteProtocolError: it broke the protocol.
        """
        while (event := self.connection.next_event()) is None:
            await self.flush()
            await self._receive(silence)
        await self.flush()
        if isinstance(event, PeerClosed):
            raise ClientGone("closed")
        return event

    async def _receive(self, silence: float) -> None:
        try:
            with trio.fail_after(silence):
                self.connection.receive(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone("reset") from error
        except trio.TooSlowError:
            raise ClientGone(f"silent for {silence:g} s") from None

    async def hang_up(self) -> None:
        """Wait until the client closes its end; what it sends before its turn is kept for then.

        Raises:
            ClientGone: always, in the end.
            RemoteProtocolError: it sent more than a request's head without waiting for answers.
        """
        while True:
            await self._receive(self._deadlines.idle)
            if self.connection.is_closed:
                raise ClientGone("closed")

    async def flush(self) -> None:
        """Send what the connection has to say by itself."""
        await self.send(self.connection.to_send())

    async def send(self, data: bytes) -> None:
        """Write `data` whole; the client has to take it before the transfer deadline.

        Raises:
            ClientGone: it does not.
        """
        if not data:
            return
        async with self._sending:
            try:
                with trio.fail_after(self._deadlines.transfer):
                    await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ClientGone("closed") from error
            except trio.TooSlowError:
                raise ClientGone(f"took nothing for {self._deadlines.transfer:g} s") from None

    async def log(self, message: LogMessage) -> None:
        """Pass a log message on."""
        await self.send(self.connection.log(message))

    async def fail(self, text: str) -> None:
        """Answer the current request with an error."""
        await self.send(self.connection.fail_with(text))
