"""Several streams to a relay over one connection: standard output, standard error, exit code.

Sessions of Nix's serve protocol and of nix-store's commands need more than one way back to the
client.  The daemon sends frames: a kind (u8), a length (u32, little endian), that many bytes.  An
`EXIT` frame holds the exit code as one byte and is the last.  Upwards, what the client sends goes
as it is.  Reads and writes nothing itself; `nix-shim stdio` imports it, so it must stay small.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import ClassVar, Final

HEADER: Final = struct.Struct("<BI")
LIMIT: Final = 1 << 24
"""Longest accepted payload in bytes."""


class Channel(int):
    """What a frame carries: one of three numbers."""

    __slots__ = ()

    STDOUT: ClassVar[Channel]
    STDERR: ClassVar[Channel]
    EXIT: ClassVar[Channel]


Channel.STDOUT = Channel(1)
Channel.STDERR = Channel(2)
Channel.EXIT = Channel(3)

_KINDS: Final[Mapping[int, Channel]] = {
    int(each): each for each in (Channel.STDOUT, Channel.STDERR, Channel.EXIT)
}


class BadFrame(ValueError):
    """What arrived is no frame: the other end is not a daemon of ours."""


def frame(channel: Channel, data: bytes) -> bytes:
    """The bytes of one frame."""
    return HEADER.pack(channel, len(data)) + data


def exit_frame(code: int) -> bytes:
    """The last frame of a session."""
    return frame(Channel.EXIT, bytes([code]))


class Frames:
    """Takes frames apart, in whatever pieces they arrive; data is handed on as it comes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._channel = Channel.STDOUT
        self._left = 0

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[Channel, bytes]]:
        """The payloads in `data`; one that is cut goes on with the next call.

        Raises:
            BadFrame: unknown channel, too long, or an exit code of another length than 1.
        """
        view = memoryview(data)
        while view:
            if self._left == 0:
                taken = view[: HEADER.size - len(self._head)]
                self._head += taken
                view = view[len(taken) :]
                if len(self._head) == HEADER.size:
                    self._open()
                continue
            piece = view[: self._left]
            self._left -= len(piece)
            view = view[len(piece) :]
            yield self._channel, bytes(piece)

    def _open(self) -> None:
        kind, length = HEADER.unpack(self._head)
        self._head.clear()
        if (channel := _KINDS.get(kind)) is None:
            raise BadFrame(f"no channel {kind}")
        if length > LIMIT or (channel is Channel.EXIT and length != 1):
            raise BadFrame(f"{length} bytes announced on channel {kind}")
        self._channel = channel
        self._left = length
