"""Where a body ends: NARs, export streams and framed streams of any length.  Holds none of them.

A body reader takes bytes as they come from the front of a source and gives its payload back in
pieces as large as they arrived.

| reader | wire | payload |
|---|---|---|
| `FramedBody` | frames: `u64` length, as many bytes, no padding; length 0 ends | contents |
| `NarBody` | a NAR as it is | the same |
| `ExportBody` | `u64` 1, NAR, magic, path, references, deriver, 0; again; `u64` 0 | the same |

Checked against Nix's `FramedSource`, `FramedSink`, `Store::exportPaths`, `Store::importPaths`.
"""

from typing import Final, Protocol

from protocol.errors import LimitExceeded, RemoteProtocolError
from protocol.limits import MAX_FRAME, MAX_REQUEST
from protocol.nar.reader import NarReader
from protocol.store.path import STORE_DIR
from protocol.version import Dialect, Number
from protocol.wire.codec import Codec, list_of, nothing, sequence, tagged, text, u64
from protocol.wire.source import WORD, Source, Underrun

EXPORT_MAGIC: Final = 0x4558494E
"""`NIXE` in little endian, behind each NAR of an export stream."""


class Body(Protocol):
    """What finds the end of a body."""

    finished: bool
    """Whether nothing of the body is left in the source."""

    def read(self, source: Source) -> bytes:
        """Take what is there.

        Returns:
            Payload, possibly empty.

        Raises:
            Underrun: nothing is there.
            RemoteProtocolError: the body breaks a rule of its format.
        """


class FramedBody:
    """A stream in frames.  Their borders have no meaning and are not kept."""

    def __init__(self) -> None:
        self.finished = False
        self._left = 0

    def read(self, source: Source) -> bytes:
        """Take all frames and parts of frames that are there; see `Body.read`."""
        pieces: list[bytes] = []
        try:
            while True:
                if not self._left:
                    self._left = source.u64()
                    if self._left > MAX_FRAME:
                        raise LimitExceeded(
                            f"a frame of {self._left} bytes, at most {MAX_FRAME} are possible"
                        )
                    if not self._left:
                        self.finished = True
                        break
                piece = source.take_some(self._left)
                self._left -= len(piece)
                pieces.append(piece)
        except Underrun:
            if not pieces:
                raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class SkippedFrames:
    """A stream in frames of which only the end is of interest: nothing is copied or given back."""

    def __init__(self) -> None:
        self.finished = False
        self._left = 0

    def read(self, source: Source) -> bytes:
        """Pass over all frames and parts of frames that are there; see `Body.read`."""
        while not self.finished:
            if self._left:
                self._left -= source.skip(self._left)
            else:
                self._left = source.u64()
                self.finished = not self._left
        return b""

    def skim(self, data: bytes) -> bool:
        """The same of bytes that end where a frame's length is not cut, nor anything follows.

        Returns:
            Whether they do; if not, nothing was taken.
        """
        at, size = self._left, len(data)
        while at < size:
            if size - at < WORD.size:
                return False
            (length,) = WORD.unpack_from(data, at)
            at += WORD.size + length
            if not length:
                self.finished = at == size
                break
        if at < size:
            return False
        self._left = at - size
        return True


def frame(data: bytes) -> bytes:
    """One frame, or several where `data` is larger than a frame can be; none for no bytes."""
    if 0 < len(data) <= MAX_FRAME:
        return WORD.pack(len(data)) + data
    return b"".join(
        frame(data[start : start + MAX_FRAME]) for start in range(0, len(data), MAX_FRAME)
    )


END_FRAME: Final = WORD.pack(0)
"""The frame that ends a stream; sent even when its sender failed."""


class NarBody:
    """A NAR, whose end is the parenthesis that closes its root."""

    def __init__(self) -> None:
        self.finished = False
        self.reader = NarReader()

    def read(self, source: Source, most: int | None = None) -> bytes:
        """Take what belongs to the NAR, and no more than `most` bytes; see `Body.read`."""
        data = source.take_some(most)
        self.reader.feed(data)
        if not self.reader.finished:
            return data
        self.finished = True
        behind = len(self.reader.leftover)
        source.untake(behind)
        return data[: len(data) - behind] if behind else data


_signature: Final[Codec[object]] = tagged({0: nothing, 1: text}, lambda _: 0, "mark of a signature")
_TRAILER: Final = sequence(u64, sequence(text, sequence(list_of(text), sequence(text, _signature))))
_ANY_DIALECT: Final = Dialect(Number(1, 0), store_dir=STORE_DIR)


class ExportBody:
    """Any number of NARs, each with what `nix-store --import` wants to know about it."""

    def __init__(self) -> None:
        self.finished = False
        self._nar: NarBody | None = None
        self._trailer = False
        self._inner = Source()

    def read(self, source: Source) -> bytes:
        """Take what belongs to the stream; see `Body.read`."""
        data = source.take_some()
        inner = self._inner
        inner.feed(data)
        if inner.starved:
            return data
        try:
            while not self.finished:
                self._step(inner)
        except Underrun:
            return data
        behind = len(inner)
        source.untake(behind)
        return data[: len(data) - behind] if behind else data

    def _step(self, inner: Source) -> None:
        if self._nar is not None:
            self._nar.read(inner)
            if self._nar.finished:
                self._nar = None
                self._trailer = True
                inner.begin(MAX_REQUEST)
        elif self._trailer:
            magic, _ = _TRAILER.get(inner, _ANY_DIALECT)
            if magic != EXPORT_MAGIC:
                raise RemoteProtocolError(f"no export magic behind the NAR, but {magic:#x}")
            self._trailer = False
            inner.begin(None)
        else:
            more = inner.u64()
            if more > 1:
                raise RemoteProtocolError(f"neither a NAR nor the end of an export, but {more}")
            self.finished = not more
            self._nar = NarBody() if more else None
