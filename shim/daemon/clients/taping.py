"""Recording the daemon's own sessions (`record-directory`): one file for each client.

What is written down is what the client says and hears in Nix's protocol, whatever relay is between:
no preamble, and of a relayed serve session its standard output only.  Files are written as the
bytes pass, so a recorded bulk copy is as slow as the disk.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import trio

from protocol.transcript.record import Direction, Header, Protocol
from shim.channels import Channel, Frames
from shim.config import Config
from shim.daemon.clients.client import Pipe
from shim.daemon.clients.who import Who
from shim.errors import ShimError
from shim.preamble import Speaks
from shim.tape import Tape, new_tape

log = structlog.get_logger()

_PROTOCOLS = {Speaks.WORKER: Protocol.WORKER, Speaks.SERVE: Protocol.SERVE}
"""What is recorded: the standard input of commands is no conversation."""


class Taped:
    """A client's connection, with everything written down."""

    def __init__(self, stream: Pipe, tape: Tape, head: bytes, *, framed: bool) -> None:
        """See the class.

        Args:
            stream: the connection.
            tape: where to write.
            head: what was received already.
            framed: whether we speak in `shim.channels` frames.
        """
        self._stream = stream
        self.tape = tape
        """For those who use the socket themselves."""
        self._frames = Frames() if framed else None
        if head:
            tape.note(Direction.TO_SERVER, head)

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""
        return self._stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What the client sends next; nothing at its end."""
        data = await self._stream.receive_some(max_bytes)
        if data:
            self.tape.note(Direction.TO_SERVER, bytes(data))
        return data

    async def send_all(self, data: bytes) -> None:
        """Send all of `data`; written down before the client can answer to it."""
        if self._frames is None:
            self.tape.note(Direction.TO_CLIENT, data)
        else:
            for channel, piece in self._frames.feed(data):
                if channel is Channel.STDOUT:
                    self.tape.note(Direction.TO_CLIENT, piece)
        await self._stream.send_all(data)


def tape_of(pipe: Pipe) -> Tape | None:
    """Where those who use the socket of `pipe` themselves write down what passes, if anywhere."""
    return pipe.tape if isinstance(pipe, Taped) else None


@contextmanager
def recorded(stream: Pipe, who: Who, head: bytes, config: Config) -> Iterator[Pipe]:
    """The connection to use for a client: one that is recorded if the configuration says so.

    A recording that cannot be made is a warning; the client is served nevertheless.
    """
    folder, protocol = config.record_directory, _PROTOCOLS.get(who.speaks)
    if folder is None or protocol is None:
        yield stream
        return
    stem = f"{who.name.replace(' ', '-')}-{time.strftime('%Y%m%dT%H%M%S')}"
    header = Header(protocol, config.store_dir, f"nix-shim serve, {who.standing} {who.name}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tape = new_tape(folder, stem, header)
    except (ShimError, OSError) as error:
        log.warning("not-recorded", why=str(error))
        yield stream
        return
    try:
        yield Taped(stream, tape, head, framed=protocol is Protocol.SERVE)
    finally:
        tape.close()
