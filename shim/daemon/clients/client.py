"""A connection of a client, as its daemon: events in, answers out, each with a deadline.

How a client ends matters to its builds.  It *leaves* by closing its end: that is how Nix's clients
cancel.  It *vanished* if its connection was reset, if it was silent or took nothing for too long,
or if its relay, which would have half-closed for a client that leaves, closed at once.
"""

import select
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import trio

from protocol.errors import ProtocolError
from protocol.wire.events import PeerClosed
from protocol.wire.machine import Machine
from protocol.worker.events import ServerEvent
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import LogMessage
from shim.config import Deadlines
from shim.daemon.nix.upstream import CHUNK

T = TypeVar("T")
E = TypeVar("E")
M = TypeVar("M", bound=Machine[Any])


class ClientGone(Exception):
    """The client left or vanished; see the module."""

    def __init__(self, why: str, *, vanished: bool = False) -> None:
        super().__init__(why)
        self.vanished = vanished


class Pipe(Protocol):
    """What a client is reached by: a socket, or something that wraps one."""

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """See `trio.abc.ReceiveStream`."""

    async def send_all(self, data: bytes) -> None:
        """See `trio.abc.SendStream`."""


class Remote(Generic[M, E]):
    """One client of either protocol.  The stream is opened and closed by `shim.daemon.server`."""

    def __init__(
        self,
        stream: Pipe,
        connection: M,
        deadlines: Deadlines,
        *,
        tells_endings: bool = False,
    ) -> None:
        """See the class.

        Args:
            stream: the connection.
            connection: the protocol on it.
            deadlines: how long to wait for what.
            tells_endings: whether a relay half-closes for a client that leaves.
        """
        self._stream = stream
        self.connection = connection
        self._deadlines = deadlines
        self._tells_endings = tells_endings
        self._sending = trio.Lock()
        self._closing: bool | None = None

    @property
    def pipe(self) -> Pipe:
        """What it is reached by, for those who wait for it themselves."""
        return self._stream

    async def event(self, silence: float) -> E:
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
            raise self.closed()
        happened: E = event
        return happened

    async def _receive(self, silence: float) -> None:
        try:
            with trio.fail_after(silence):
                data = await self._stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone("reset", vanished=True) from error
        except trio.TooSlowError:
            raise ClientGone(f"silent for {silence:g} s", vanished=True) from None
        self.take(bytes(data))

    def take(self, data: bytes) -> None:
        """Take what was received: nothing at its end.

        Raises:
            RemoteProtocolError: it sends much although it is not its turn.
        """
        if not data and self._closing is None:
            self._closing = self._tells_endings and closed_both_ways(self._stream)
        self.connection.receive(data)

    def closed(self) -> ClientGone:
        """What a closed connection tells: nothing was half-closed yet if we learn it by writing."""
        vanished = self._tells_endings if self._closing is None else self._closing
        return ClientGone("closed", vanished=vanished)

    async def hang_up(self) -> NoReturn:
        """Wait until the client closes its end; what it sends before its turn is kept for then.

        Raises:
            ClientGone: always, in the end.
            RemoteProtocolError: it sent more than a request's head without waiting for answers.
        """
        while True:
            await self._receive(self._deadlines.idle)
            if self.connection.is_closed:
                raise self.closed()

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
                raise self.closed() from error
            except trio.TooSlowError:
                why = f"took nothing for {self._deadlines.transfer:g} s"
                raise ClientGone(why, vanished=True) from None
        if self.connection.must_close:
            raise ClientGone("let go: nothing more can be said to it")

    async def while_listening(
        self,
        work: Callable[[], Awaitable[T]],
        gone: Callable[[ClientGone], None] = lambda _: None,
    ) -> T:
        """Do `work` as long as the client is there.

        Args:
            work: what to do; it is cancelled when the client goes.
            gone: told of that before.

        Raises:
            ClientGone, RemoteProtocolError: the client left, or broke the protocol, meanwhile.
        """

        async def departure() -> Exception:
            try:
                await self.hang_up()
            except (ClientGone, ProtocolError) as error:
                if isinstance(error, ClientGone):
                    gone(error)
                return error

        return await unless_ended(departure, work)


async def unless_ended(
    departure: Callable[[], Awaitable[Exception]], work: Callable[[], Awaitable[T]]
) -> T:
    """Do `work` until it is done or somebody goes.

    Args:
        departure: waits until then; the work is cancelled, and what it returns raised.
        work: what to do.
    """
    done: list[T] = []
    ended: list[Exception] = []

    async def watch(scope: trio.CancelScope) -> None:
        ended.append(await departure())
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


class Client(Remote[ServerConnection, ServerEvent]):
    """A client of the worker protocol."""

    async def log(self, message: LogMessage) -> None:
        """Pass a log message on."""
        await self.send(self.connection.log(message))

    async def fail(self, text: str) -> None:
        """Answer the current request with an error."""
        await self.send(self.connection.fail_with(text))


def closed_both_ways(stream: Pipe) -> bool:
    """Whether the other end is closed and not only half-closed (poll(2): POLLHUP)."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)
    return any(found & select.POLLHUP for _, found in poll.poll(0))
