"""One session's bytes: an SSH channel on one side, a connection to the daemon on the other.

Neither side is read faster than the other takes it, so that a session holds no more than the
channel's window and a socket's buffer.  How the client ended is passed on: an end of its data or of
its connection as an end of ours (a shutdown of writing), a lost client as a connection closed at
once, which the daemon tells apart.  Knows nothing of what is said.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from shim.channels import BadFrame, Channel, Frames
from shim.preamble import Preamble, Speaks

UNAVAILABLE: Final = 69
"""Exit code of a session that the daemon broke off."""

LINGER: Final = 60.0
"""Seconds for the daemon to end a session whose client has ended it."""

LINGER_COMMAND: Final = 1.0
"""The same for a command: to it the end of its standard input is no goodbye, only a close is."""


class Client(Protocol):
    """The client's side of a session: what a relay asks of an SSH channel."""

    def write(self, data: bytes | memoryview) -> None:
        """Send on standard output; `data` is copied."""

    def write_stderr(self, data: bytes) -> None:
        """Send on standard error."""

    def exit(self, status: int) -> None:
        """Say how it ended, and close."""

    def is_closing(self) -> bool:
        """Whether it takes nothing more, though the end is not told yet."""

    def pause_reading(self) -> None:
        """Take no more from the client."""

    def resume_reading(self) -> None:
        """Take more."""


class Hold(Enum):
    """Why nothing is read from the daemon for now."""

    WINDOW = auto()
    """The client's channel takes no more."""
    CONNECTION = auto()
    """The client's TCP connection takes no more, or keys are being exchanged."""


class Relay(asyncio.BufferedProtocol):
    """The daemon's side; asyncio calls it.

    Args:
        client: the other side.
        preamble: what the daemon is told first.
        buffer: what asyncio reads into, for the moment of a read: all may share one.  Memory that
            is taken for each read and given back after it costs more than the reading.
        ended: is told how the session ended, once.
    """

    def __init__(
        self,
        client: Client,
        preamble: Preamble,
        buffer: memoryview,
        ended: Callable[[str], None],
    ) -> None:
        self._client: Client | None = client
        self._preamble = preamble
        self._ended = ended
        self._frames = None if preamble.speaks is Speaks.WORKER else Frames()
        self._held: set[Hold] = set()
        self._transport: asyncio.Transport | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._batch: list[bytes] = []
        self._buffer = buffer
        self.sent = 0
        """Bytes from the client to the daemon."""
        self.received = 0
        """Bytes from the daemon."""

    # What the daemon's connection tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._preamble.render())

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's interface
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        if self._client is None or self._client.is_closing():
            return
        data = self._buffer[:nbytes]
        if self._frames is None:
            self._client.write(data)
            return
        try:
            for channel, payload in self._frames.feed(data):
                match channel:
                    case Channel.STDOUT:
                        self._client.write(payload)
                    case Channel.STDERR:
                        self._client.write_stderr(payload)
                    case Channel.EXIT:
                        self._finish(payload[0], "done")
                        return
        except BadFrame as error:
            self._finish(UNAVAILABLE, f"the daemon sent no frames: {error}")

    def eof_received(self) -> None:
        if self._frames is None:
            self._finish(0, "done")
        else:
            self._finish(UNAVAILABLE, "the daemon broke off")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        self._transport = None
        self._finish(UNAVAILABLE, f"the daemon broke off: {exc}")

    def pause_writing(self) -> None:
        if self._client is not None:
            self._client.pause_reading()

    def resume_writing(self) -> None:
        if self._client is not None:
            self._client.resume_reading()

    # What the client's channel tells us

    def send(self, data: bytes) -> None:
        """The client said `data`."""
        if not self._batch:
            # Packets of 32 KiB come several at a time; each write would wake the daemon.
            asyncio.get_running_loop().call_soon(self._flush)
        self._batch.append(data)
        self.sent += len(data)

    def _flush(self) -> None:
        if self._transport is not None and self._batch:
            self._transport.write(b"".join(self._batch))
        self._batch.clear()

    def send_end(self) -> None:
        """The client will say no more."""
        self._flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def hold(self, why: Hold, *, on: bool) -> None:
        """Stop reading from the daemon, or go on if nothing else holds it."""
        before = bool(self._held)
        (self._held.add if on else self._held.discard)(why)
        if self._transport is None or before == bool(self._held):
            return
        if self._held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def client_gone(self, *, orderly: bool) -> None:
        """The client is not there any more: it left, or was lost."""
        if self._client is None:
            return
        self._client = None
        self._ended("left" if orderly else "lost")
        if self._transport is None:
            return
        if not orderly:
            self._transport.abort()
            return
        self.send_end()
        self.hold(Hold.WINDOW, on=False)
        self.hold(Hold.CONNECTION, on=False)
        patience = LINGER_COMMAND if self._preamble.speaks is Speaks.COMMAND else LINGER
        self._lingering = asyncio.get_running_loop().call_later(patience, self._transport.abort)

    def _finish(self, code: int, how: str) -> None:
        """The session ended on the daemon's side."""
        if self._client is not None:
            client, self._client = self._client, None
            client.exit(code)
            self._ended(how)
        if self._transport is not None:
            self._transport.close()
