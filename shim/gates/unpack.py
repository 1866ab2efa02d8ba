"""Taking compressed streams apart within limits: gzip, xz, bzip2, zstd.  Knows no archives.

Every decompressor here is asked for a bounded piece at a time, so that a bomb is met by `Budget`
before it can fill memory; pieces are kept in memory while few and in a nameless file after that.
"""

import bz2
import lzma
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol, cast

import zstandard

from shim.gates.blob import Blob
from shim.gates.settings import LimitError, Limits

PIECE: Final = 1 << 18
"""Bytes read, and most bytes written, by a decompressor in one step."""

XZ_MEMORY: Final = 1 << 28
"""Bytes of dictionary an xz stream may ask for; `xz -9` needs 65 MiB."""

ZSTD_WINDOW: Final = 1 << 27
"""Bytes of window a zstd frame may ask for; `zstd --long` stays within that."""


MOST_BLOCKS: Final = 1 << 18
"""Blocks of a zstd frame: a full one has 128 KiB."""


class DamagedError(Exception):
    """An archive or compressed stream that does not follow its format."""


class TooManyError(Exception):
    """More places that look like a compressed stream than are tried."""


class Budget:
    """What may still be unpacked for one result."""

    def __init__(self, limits: Limits, scratch: Path | None = None) -> None:
        self.limits = limits
        self.scratch = scratch
        self.spent = False
        """Nothing more may be unpacked at all."""
        self._bytes = 0
        self._entries = 0
        self._attempts = 0

    def attempt(self) -> None:
        """Count a place in the middle of contents that looks like a compressed stream.

        Raises:
            TooManyError: there were too many.
        """
        self._attempts += 1
        if self._attempts > self.limits.attempts:
            raise TooManyError(f"more than {self.limits.attempts} embedded streams (`attempts`)")
        self._spend(PIECE)

    def entry(self) -> None:
        """Count an entry or member.

        Raises:
            LimitError: there are too many.
        """
        self._entries += 1
        if self._entries > self.limits.entries:
            self.spent = True
            raise LimitError(f"more than {self.limits.entries} entries (`entries`)")

    def opened(self, packed: int) -> None:
        """Count the `packed` bytes of a compressed member: members may share them.

        Raises:
            LimitError: everything together is too large.
        """
        self._spend(packed)

    def unpacked(self, piece: int, packed: int, total: int) -> None:
        """Count `piece` bytes more of a member that has `total` now, from `packed` compressed.

        Raises:
            LimitError: the member, its ratio, or everything together is too large.
        """
        limits = self.limits
        if total > limits.member:
            raise LimitError(f"a member of more than {limits.member} bytes (`member`)")
        if total > limits.free and total > packed * limits.ratio:
            raise LimitError(f"compressed more than {limits.ratio} to 1 (`ratio`)")
        self._spend(piece)

    def _spend(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self.limits.total:
            self.spent = True
            raise LimitError(f"members of more than {self.limits.total} bytes (`total`)")


class _Decompressor(Protocol):
    """What `bz2`, `lzma` and the adapter below have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """`zlib.decompressobj` in the manner of `bz2` and `lzma`."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, max_length)


Pieces = Generator[bytes, None, int]
"""Uncompressed pieces; returns how many compressed bytes they came from."""

Unpacker = Callable[[Blob], Pieces]

_ERRORS: Final = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, zstandard.ZstdError)


def _unpacker(make: Callable[[], _Decompressor], magic: bytes) -> Unpacker:
    """Reads one stream, and further ones as long as they begin with `magic` (if there is one)."""

    def pieces(blob: Blob) -> Pieces:
        place = 0
        while True:
            inner = make()
            while not inner.eof:
                data = blob.read(place, PIECE) if inner.needs_input else b""
                place += len(data)
                piece = inner.decompress(data, PIECE)
                if not piece and not data and not inner.eof:
                    raise DamagedError("the compressed data are cut off")
                yield piece
            place -= len(inner.unused_data)
            if not magic or blob.read(place, len(magic)) != magic:
                return place

    return pieces


class _Reader:
    """A blob as something with `read`, for `zstandard`."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self.place = 0

    def read(self, size: int) -> bytes:
        data = self._blob.read(self.place, size)
        self.place += len(data)
        return data


def _zstd(blob: Blob) -> Pieces:
    """Reads frames one behind another; `zstandard` alone would not tell that one is cut off."""
    end, whole = _zstd_end(blob)
    context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    source = cast("IO[bytes]", _Reader(blob.part(0, end)))
    with context.stream_reader(source, PIECE, read_across_frames=True, closefd=False) as reader:
        while piece := reader.read(PIECE):
            yield piece
    if not whole:
        raise DamagedError("the compressed data are cut off")
    return end


_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


def _zstd_end(blob: Blob) -> tuple[int, bool]:
    """Where the last frame ends, and whether it is whole, by the headers of frames and blocks."""
    place = 0
    while True:
        head = blob.read(place, 18)
        skippable = head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
        if skippable and len(head) >= 8:
            place += 8 + int.from_bytes(head[4:8], "little")
        elif head[:4] == _ZSTD_MAGIC and len(head) > 5:
            flags = head[4]
            single = flags >> 5 & 1
            sizes = (single, 2, 4, 8)[flags >> 6] + (0, 1, 2, 4)[flags & 3]
            place = _zstd_blocks(blob, place + 5 + (1 - single) + sizes)
            place += 4 * (flags >> 2 & 1)
        else:
            return place, place > 0
        if place > blob.size:
            return blob.size, False


def _zstd_blocks(blob: Blob, place: int) -> int:
    """Where the blocks of a frame end; beyond the end of the blob if they are cut off."""
    for _ in range(MOST_BLOCKS):
        head = blob.read(place, 3)
        if len(head) < 3:
            return blob.size + 1
        number = int.from_bytes(head, "little")
        last, kind, size = number & 1, number >> 1 & 3, number >> 3
        place += 3 + (1 if kind == 1 else size)
        if last:
            return place
    raise DamagedError(f"a frame of more than {MOST_BLOCKS} blocks")


def _xz_stream() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


GZIP: Final = _unpacker(lambda: _Zlib(31), b"\x1f\x8b\x08")
XZ: Final = _unpacker(_xz_stream, b"\xfd7zXZ\0")
BZIP2: Final = _unpacker(bz2.BZ2Decompressor, b"BZh")
ZLIB: Final = _unpacker(lambda: _Zlib(15), b"")
DEFLATE: Final = _unpacker(lambda: _Zlib(-15), b"")
ZSTD: Final[Unpacker] = _zstd


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Contents of a compressed stream.

    Attributes:
        blob: what could be uncompressed.
        used: compressed bytes that belong to the stream; what is behind them is something else.
        damage: why it ends before its end, if it does.
    """

    blob: Blob
    used: int
    damage: str | None


@contextmanager
def unpacked(
    source: Blob, unpacker: Unpacker, budget: Budget, *, whole: bool = True
) -> Iterator[Unpacked]:
    """The uncompressed contents, as long as the context lasts.

    Damage does not lose what came before it: `Unpacked.damage` tells of it.

    Args:
        source: the compressed bytes, and whatever is behind them.
        unpacker: how.
        budget: what it may come to.
        whole: whether all of `source` should be the stream, so that its size is counted.

    Raises:
        LimitError: the budget does not allow it.
        OSError: the scratch file could not be written.
    """
    with ExitStack() as stack:
        if whole:
            budget.opened(source.size)
        store = _Store(stack, budget)
        pieces = unpacker(source)
        used, damage = source.size, None
        while True:
            try:
                piece = next(pieces)
            except StopIteration as done:
                used = done.value
                break
            except DamagedError as error:
                damage = str(error)
                break
            except _ERRORS as error:
                damage = f"{type(error).__name__}: {error}"
                break
            budget.unpacked(len(piece), source.size, store.size + len(piece))
            store.write(piece)
        yield Unpacked(store.blob(), used, damage)


class _Store:
    """Pieces in memory, or in a file once they are many."""

    def __init__(self, stack: ExitStack, budget: Budget) -> None:
        self._stack = stack
        self._budget = budget
        self._held: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._file is not None:
            self._file.write(piece)
            return
        self._held.append(piece)
        if self.size > self._budget.limits.memory:
            self._file = self._stack.enter_context(
                tempfile.TemporaryFile(dir=self._budget.scratch, buffering=0)  # noqa: SIM115 - the stack closes it
            )
            for held in self._held:
                self._file.write(held)
            self._held.clear()

    def blob(self) -> Blob:
        if self._file is not None:
            return Blob.of_file(self._file.fileno(), self.size)
        return Blob(b"".join(self._held))
