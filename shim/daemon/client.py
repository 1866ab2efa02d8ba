"""A connection of a client, as its daemon: events in, answers out, each with a deadline."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from protocol.errors import ProtocolError
from protocol.worker.events import PeerClosed, ServerEvent
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import LogMessage
from shim.config import Deadlines
from shim.daemon.upstream import CHUNK

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed its connection, or fell silent for too long."""


class Client:
    """One client.  The stream is opened and closed by `shim.daemon.server`."""

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
        if self.connection.must_close:
            raise ClientGone("let go: nothing more can be said to it")

    async def log(self, message: LogMessage) -> None:
        """Pass a log message on."""
        await self.send(self.connection.log(message))

    async def fail(self, text: str) -> None:
        """Answer the current request with an error."""
        await self.send(self.connection.fail_with(text))

    async def while_listening(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` as long as the client is there.

        Raises:
            ClientGone, RemoteProtocolError: the client left, or broke the protocol, meanwhile.
        """
        done: list[T] = []
        ended: list[Exception] = []

        async def watch(scope: trio.CancelScope) -> None:
            try:
                await self.hang_up()
            except (ClientGone, ProtocolError) as error:
                ended.append(error)
                scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, nursery.cancel_scope)
            try:
                done.append(await work())
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
                ended.append(error)
            nursery.cancel_scope.cancel()
        if ended:
            raise ended[0]
        return done[0]
