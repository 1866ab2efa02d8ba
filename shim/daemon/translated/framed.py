"""A client behind a relay that gives it standard output, standard error and an exit code.

Upwards comes what the client sends, as it is; downwards go `shim.channels` frames.  Nothing here
knows what is spoken.
"""

import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Final

import trio

from protocol.worker.stderr import (
    LogMessage,
    Next,
    Result,
    ResultType,
    StartActivity,
    StopActivity,
    Verbosity,
)
from shim.channels import LIMIT, Channel, exit_frame, frame
from shim.config import Deadlines
from shim.daemon.clients.client import ClientGone, Pipe, closed_both_ways
from shim.daemon.nix.upstream import CHUNK

GLANCE: Final = 1.0
"""Seconds between two looks at whether a client that sends no more is still there: the kernel
reports it, but trio cannot wait for it."""

_LINES: Final = frozenset({ResultType.BUILD_LOG_LINE, ResultType.POST_BUILD_LOG_LINE})


class Framed:
    """See the module.  The stream is opened and closed by `shim.daemon.server`."""

    def __init__(self, stream: Pipe, deadlines: Deadlines) -> None:
        self._stream = stream
        self._deadlines = deadlines
        self._sending = trio.Lock()

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""
        return self._stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What the client sends next; nothing at its end."""
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        """Put `data` on the client's standard output."""
        await self._send(Channel.STDOUT, data)

    async def say(self, text: str) -> None:
        """Put a text on the client's standard error.

        Raises:
            ClientGone: it is gone, or did not take it before the transfer deadline.
        """
        await self._within(self._send(Channel.STDERR, text.encode("utf-8", "surrogateescape")))

    async def write(self, data: bytes) -> None:
        """As `send_all`, with the deadline and the errors of `say`."""
        await self._within(self.send_all(data))

    async def exit(self, code: int) -> None:
        """Say how it ended; nothing can be said afterwards.  One that is gone hears nothing."""
        with contextlib.suppress(ClientGone):
            await self._within(self._whole(exit_frame(code)))

    async def pieces(self) -> AsyncIterator[bytes]:
        """The client's standard input, to its end.

        Raises:
            ClientGone: it was reset, or silent for longer than the transfer deadline.
        """
        while data := await self._receive(self._deadlines.transfer):
            yield data

    async def left(self, *, tells_endings: bool) -> ClientGone:
        """Wait until nobody hears us any more, and say how that came.

        A client may end its standard input long before: whatever comes of it is dropped.

        Args:
            tells_endings: whether a relay half-closes for a client that leaves.
        """
        try:
            while await self._receive(self._deadlines.idle):
                pass
        except ClientGone as gone:
            return gone
        if self._is_closed():
            return ClientGone("closed", vanished=tells_endings)
        while not self._is_closed():  # noqa: ASYNC110 - the event is the kernel's, see GLANCE
            await trio.sleep(GLANCE)
        return ClientGone("closed")

    async def _receive(self, silence: float) -> bytes:
        try:
            with trio.fail_after(silence):
                return bytes(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone("reset", vanished=True) from error
        except trio.TooSlowError:
            raise ClientGone(f"silent for {silence:g} s", vanished=True) from None

    def _is_closed(self) -> bool:
        return closed_both_ways(self)

    async def _send(self, channel: Channel, data: bytes) -> None:
        for start in range(0, len(data), LIMIT):
            await self._whole(frame(channel, data[start : start + LIMIT]))

    async def _whole(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def _within(self, sending: Coroutine[None, None, None]) -> None:
        try:
            with trio.fail_after(self._deadlines.transfer):
                await sending
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone("closed") from error
        except trio.TooSlowError:
            why = f"took nothing for {self._deadlines.transfer:g} s"
            raise ClientGone(why, vanished=True) from None


def shown(message: LogMessage, verbosity: int, *, build_output: bool = True) -> str:
    """What Nix's plain logger prints of a message: whole lines, or nothing.

    Checked against Nix's `SimpleLogger`.
    """
    match message:
        case Next(text) if text:
            return text if text.endswith("\n") else f"{text}\n"
        case StartActivity(level=level, text=text) if text and level <= verbosity:
            return f"{text}...\n"
        case Result(type=kind, fields=(str(line), *_)) if kind in _LINES and build_output:
            return f"{line}\n"
        case Next() | StartActivity() | StopActivity() | Result():
            return ""


QUIET: Final = Verbosity.ERROR
"""At which `nix-store --serve` builds: log lines and errors are shown, activities are not."""
