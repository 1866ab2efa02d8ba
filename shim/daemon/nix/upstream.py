"""A connection to a nix-daemon, as its client: ask, stream bodies both ways, listen to its log.

One request at a time, as the protocol has it.  Every wait has a deadline on silence: what the
daemon sends, log lines included, starts it anew.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from protocol.errors import ProtocolError
from protocol.store.path import StorePath
from protocol.version import Dialect
from protocol.worker.client import ClientConnection
from protocol.worker.events import (
    ClientEvent,
    Failed,
    Logged,
    PeerClosed,
    Replied,
    ReplyData,
    ReplyEnd,
    Welcomed,
)
from protocol.worker.handshake import Trust
from protocol.worker.messages import QueryPathInfo, Request, SetOptions
from protocol.worker.stderr import LogMessage, NixError
from shim.config import Deadlines
from shim.daemon.nix.dialing import dial
from shim.errors import ExitCode, ShimError

R = TypeVar("R")

CHUNK: Final = 1 << 17
"""Bytes asked of a socket at once: large, so that Python's share of a bulk copy is small, but not
so large that each piece is memory fresh from the kernel, which costs more than all the rest."""

Listener = Callable[[LogMessage], Awaitable[None]]


class DaemonRefused(Exception):
    """The nix-daemon's answer was an error; the connection may go on."""

    def __init__(self, name: str, error: NixError) -> None:
        super().__init__(error.message)
        self.name = name
        self.error = error


class DaemonLost(Exception):
    """The connection to a nix-daemon is of no more use: closed, silent or out of step."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the {name} {why}")
        self.name = name


async def ignore(_: LogMessage) -> None:
    """Listen to nothing."""


def options(*, use_substitutes: bool = True, cores: int | None = None) -> SetOptions:
    """Settings of a connection of ours.

    Builds use this machine's cores, whatever the board has: the number is never left to the
    builder, since many take 0 literally.  No build leaves this machine again.
    """
    machine = len(os.sched_getaffinity(0))
    return SetOptions(
        max_build_jobs=machine,
        build_cores=cores or machine,
        use_substitutes=use_substitutes,
        overrides={"builders": ""},
    )


async def reached(
    paths: Iterable[StorePath], beside: Callable[[StorePath], Awaitable[frozenset[StorePath]]]
) -> frozenset[StorePath]:
    """The paths, and all that is reached from them by `beside`, which is asked once of each."""
    known = set(paths)
    fringe = sorted(known)
    while fringe:
        fresh = await beside(fringe.pop()) - known
        known |= fresh
        fringe += fresh
    return frozenset(known)


class Upstream:
    """See the module.  Made by `Upstream.open`; closed by leaving that."""

    def __init__(
        self,
        name: str,
        stream: trio.SocketStream,
        connection: ClientConnection,
        deadlines: Deadlines,
    ) -> None:
        self.name = name
        self._stream = stream
        self.connection = connection
        self._deadlines = deadlines
        self.dialect: Dialect
        self.daemon_version = ""
        self.trust = Trust.UNKNOWN

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket, for those who wait for it themselves."""
        return self._stream.socket

    @classmethod
    @asynccontextmanager
    async def open(
        cls, name: str, path: Path, store_dir: str, deadlines: Deadlines
    ) -> AsyncIterator["Upstream"]:
        """Connect, shake hands, and close at the end of the block.

        Raises:
            ShimError: nothing listens at `path`, or it is no nix-daemon.
            DaemonRefused: the daemon turned us away in the handshake.
        """
        try:
            with trio.fail_after(deadlines.connect):
                stream = await dial(path)
        except (OSError, trio.TooSlowError) as error:
            raise ShimError(
                f"cannot reach the {name} at `{path}`: {error}",
                hint="is it running, and may we connect to it?",
                code=ExitCode.UNAVAILABLE,
            ) from error
        async with stream:
            self = cls(name, stream, ClientConnection(store_dir), deadlines)
            await self.greet()
            yield self

    async def greet(self) -> None:
        """Shake hands; afterwards `dialect`, `daemon_version` and `trust` are known."""
        await self.send(self.connection.hello())
        while True:
            match await self.event(self._deadlines.connect):
                case Welcomed(dialect, daemon_version, trust):
                    self.dialect = dialect
                    self.daemon_version = daemon_version
                    self.trust = trust
                    return
                case Failed(error):
                    raise DaemonRefused(self.name, error)
                case Logged():
                    continue
                case event:
                    raise DaemonLost(self.name, f"sent {event} in the handshake")

    async def send(self, data: bytes) -> None:
        """Write `data`; the daemon has to take some of it before the transfer deadline."""
        if not data:
            return
        try:
            with trio.fail_after(self._deadlines.transfer):
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise DaemonLost(self.name, "closed the connection") from error
        except trio.TooSlowError:
            raise DaemonLost(
                self.name, f"took no byte for {self._deadlines.transfer:g} s"
            ) from None

    async def event(self, silence: float) -> ClientEvent:
        """The next event; waits at most `silence` seconds for each piece of it.

        Raises:
            DaemonLost: the daemon is gone, silent, or broke the protocol.
        """
        try:
            while (event := self.connection.next_event()) is None:
                await self.send(self.connection.to_send())
                with trio.fail_after(silence):
                    self.connection.receive(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise DaemonLost(self.name, "closed the connection") from error
        except trio.TooSlowError:
            raise DaemonLost(self.name, f"was silent for {silence:g} s") from None
        except ProtocolError as error:
            raise DaemonLost(self.name, f"broke the protocol: {error}") from error
        if isinstance(event, PeerClosed):
            raise DaemonLost(self.name, "closed the connection")
        return event

    def request_bytes(self, request: Request[Any]) -> bytes:
        """The bytes of a request, for those who move the rest themselves.

        Raises:
            LocalProtocolError: the daemon's version cannot be asked this.
        """
        return self.connection.ask(request)

    async def ask(
        self,
        request: Request[R],
        *,
        listen: Listener = ignore,
        body: AsyncIterator[bytes] | None = None,
        builds: bool = False,
    ) -> R:
        """Ask and await the answer.

        Args:
            request: the question.
            listen: hears the daemon's log meanwhile.
            body: what follows the request, where its operation has a body.
            builds: whether the daemon may build, so that it may be silent for long.

        Raises:
            DaemonRefused: its answer was an error.
            DaemonLost: there was no answer.
        """
        silence = self._deadlines.build_silence if builds else self._deadlines.reply
        await self.send(self.request_bytes(request))
        answer: R = await (
            self.answer(listen, silence)
            if body is None
            else self._answer_beside(body, listen, silence)
        )
        return answer

    async def answer(self, listen: Listener, silence: float) -> Any:
        """The answer to what was asked; `listen` hears the daemon's log until then.

        Raises:
            DaemonRefused, DaemonLost: as `ask`.
        """
        while True:
            match await self.event(silence):
                case Logged(message):
                    await listen(message)
                case Replied(value=value):
                    return value
                case Failed(error):
                    raise DaemonRefused(self.name, error)
                case event:
                    raise DaemonLost(self.name, f"sent {event} where an answer was due")

    async def _answer_beside(
        self, body: AsyncIterator[bytes], listen: Listener, silence: float
    ) -> Any:
        """Send a body and listen at once: a daemon with much to say takes no more until heard."""
        outcome: list[Any] = []
        failure: list[Exception] = []

        async def downwards() -> None:
            try:
                outcome.append(await self.answer(listen, silence))
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
                failure.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(downwards)
            try:
                async for data in body:
                    if failure:
                        break
                    await self.send(self.connection.body(data))
                await self.send(self.connection.body_end())
            except Exception as error:  # noqa: BLE001 - the same
                failure.append(error)
                nursery.cancel_scope.cancel()
        if failure:
            raise failure[0]
        return outcome[0]

    async def closure(self, paths: Iterable[StorePath]) -> frozenset[StorePath]:
        """The paths, and everything that those among them which are valid refer to."""

        async def below(path: StorePath) -> frozenset[StorePath]:
            info = await self.ask(QueryPathInfo(path))
            return frozenset() if info is None else info.references

        return await reached(paths, below)

    async def stream(self, request: Request[None]) -> AsyncIterator[bytes]:
        """Ask for something that is answered by a body, such as a NAR; its pieces.

        Raises:
            DaemonRefused, DaemonLost: as `ask`.
        """
        await self.ask(request)
        while True:
            match await self.event(self._deadlines.transfer):
                case ReplyData(data):
                    yield data
                case ReplyEnd():
                    return
                case event:
                    raise DaemonLost(self.name, f"sent {event} within a body")
