"""The format of a recording: what went over one connection, in which direction and when.

    recording = header {frame}                    (MessagePack objects, one after the other)
    header    = ["nix-shim recording", 1, {"protocol": "worker" | "serve", "store_dir": text,
                                           "about": text}]
    frame     = [direction, microseconds, bytes]

`direction` is 0 for what the client sent and 1 for what the server sent; `microseconds` count from
the start of the recording and never decrease.  Keys that a reader does not know are ignored, so
that later versions can add some; another number than 1 is refused.  Neither the negotiated version
nor any message boundary is written down: both follow from the bytes (`protocol.transcript.decode`).

A frame holds at most `MAX_FRAME` bytes.  Writer and reader hold one frame each, never a recording.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

import msgpack

from protocol.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from protocol.store.path import STORE_DIR

MAGIC: Final = "nix-shim recording"
VERSION: Final = 1

MAX_FRAME: Final = 1 << 20
"""Bytes of one frame: longer pieces are cut, so that a reader's memory has a bound."""

_MAX_OBJECT: Final = MAX_FRAME + 4096
"""Bytes of one MessagePack object: a full frame, or a header with a long `about`."""


class BadRecording(RemoteProtocolError):
    """Bytes that are no recording, or the recording of a later version."""


class Protocol(StrEnum):
    """Which of Nix's protocols was spoken."""

    WORKER = "worker"
    SERVE = "serve"


class Direction(IntEnum):
    """Who sent a frame."""

    TO_SERVER = 0
    TO_CLIENT = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What holds for a whole recording."""

    protocol: Protocol
    store_dir: str = STORE_DIR
    about: str = ""
    """One line for people: which programs spoke, and about what."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of one direction's bytes; its borders mean nothing."""

    direction: Direction
    microseconds: int
    """Since the start of the recording."""
    data: bytes


class RecordingWriter:
    """Header and frames to bytes: what each method returns is to be appended to the file."""

    __slots__ = ("_latest", "_started")

    def __init__(self) -> None:
        self._latest = 0
        self._started = False

    def start(self, header: Header) -> bytes:
        """The first bytes of a recording."""
        fields = {
            "protocol": header.protocol.value,
            "store_dir": header.store_dir,
            "about": header.about,
        }
        self._started = True
        return _pack([MAGIC, VERSION, fields])

    def frame(self, direction: Direction, microseconds: int, data: bytes) -> bytes:
        """The bytes for one piece of traffic, cut into as many frames as it takes.

        A time before that of the frame before is raised to it: clocks step back, recordings do not.

        Raises:
            LocalProtocolError: the recording was not started.
        """
        if not self._started:
            raise LocalProtocolError("a recording begins with its header: call `start` first")
        self._latest = max(self._latest, microseconds)
        return b"".join(
            _pack([direction.value, self._latest, data[start : start + MAX_FRAME]])
            for start in range(0, len(data), MAX_FRAME)
        )


class RecordingReader:
    """Bytes to header and frames, however they are cut."""

    __slots__ = ("_complete", "_fed", "_unpacker", "header")

    def __init__(self) -> None:
        self.header: Header | None = None
        """Known once the first object is complete."""
        self._fed = 0
        self._complete = 0
        self._unpacker = msgpack.Unpacker(
            raw=False,
            unicode_errors="surrogateescape",
            max_buffer_size=2 * _MAX_OBJECT,
            max_str_len=_MAX_OBJECT,
            max_bin_len=MAX_FRAME,
            max_array_len=8,
            max_map_len=64,
            max_ext_len=0,
        )

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Read some more of the file; to be iterated to its end before the next call.

        Raises:
            BadRecording: not a recording, of another version, or a frame that cannot be.
            LimitExceeded: an object larger than frames and headers are.
        """
        for start in range(0, len(data), _MAX_OBJECT):
            piece = data[start : start + _MAX_OBJECT]
            self._fed += len(piece)
            self._unpacker.feed(piece)
            while (item := self._next()) is not None:
                if self.header is None:
                    self.header = _header(item)
                else:
                    yield _frame(item)

    def end(self) -> None:
        """Say that the file ends here.

        Raises:
            BadRecording: it ends in the middle of an object, or is empty.
        """
        if not self._fed:
            raise BadRecording("the recording is empty")
        if self._complete < self._fed:
            raise BadRecording("the recording ends in the middle of a frame")

    def _next(self) -> list[Any] | None:
        try:
            item = self._unpacker.unpack()
        except msgpack.OutOfData:
            return None
        except msgpack.BufferFull:
            raise LimitExceeded(f"an object of more than {_MAX_OBJECT} bytes") from None
        except (msgpack.UnpackException, ValueError, TypeError) as error:
            # Limits of the unpacker, and keys that cannot be keys, arrive as plain ValueErrors.
            raise self._bad(f"not MessagePack behind byte {self._complete}: {error}") from None
        if not isinstance(item, list) or len(item) != 3:
            raise self._bad(f"expected a list of three behind byte {self._complete}")
        self._complete = self._unpacker.tell()
        return item

    def _bad(self, why: str) -> BadRecording:
        return BadRecording(why if self.header else f"not a recording: {why}")


def _pack(value: list[Any]) -> bytes:
    packed = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogateescape")
    assert isinstance(packed, bytes)
    return packed


def _header(item: list[Any]) -> Header:
    magic, version, fields = item
    if magic != MAGIC:
        raise BadRecording(f"not a recording: it does not begin with `{MAGIC}`")
    if version != VERSION:
        raise BadRecording(f"a recording of version `{version}`, only {VERSION} is known")
    if not isinstance(fields, Mapping):
        raise BadRecording("the header of the recording has no fields")
    name = _text(fields, "protocol", "")
    try:
        protocol = Protocol(name)
    except ValueError:
        raise BadRecording(f"a recording of an unknown protocol: `{name}`") from None
    return Header(protocol, _text(fields, "store_dir", STORE_DIR), _text(fields, "about", ""))


def _text(fields: Mapping[Any, Any], key: str, default: str) -> str:
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise BadRecording(f"`{key}` in the header of the recording is no text")
    return value


def _frame(item: list[Any]) -> Frame:
    direction, microseconds, data = item
    if direction not in tuple(Direction) or isinstance(direction, bool | float):
        raise BadRecording(f"unknown direction of a frame: `{direction}`")
    if not isinstance(microseconds, int) or isinstance(microseconds, bool) or microseconds < 0:
        raise BadRecording("the time of a frame is no count of microseconds")
    if not isinstance(data, bytes) or not data:
        raise BadRecording("a frame holds no bytes")
    return Frame(Direction(direction), microseconds, data)
