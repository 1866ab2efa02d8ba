"""Contents that gates read: any range of a file or of a member, without holding all of it.

Files are read with `pread`, never mapped: a damaged disk is then an `OSError` and not a signal.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 1 << 20
"""Bytes looked at in one go: large enough that Python's own cost does not count."""

BEHIND: Final = 1024
"""Bytes before a chunk's window that its reader may look back at."""

AHEAD: Final = 1024
"""Bytes after a chunk's window, so that what begins in the window can be read to its end."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a blob: what begins in `data[start:stop]` is this chunk's to report.

    Attributes:
        base: offset of `data` in the blob.
        data: the window with its surroundings.
        start: first byte of the window within `data`.
        stop: end of the window within `data`.
    """

    base: int
    data: bytes
    start: int
    stop: int


class Blob:
    """Bytes in memory, or a range of an open file.  The owner of the file closes it.

    A part of a blob copies and reads nothing until it is looked at: archives may name the same
    bytes any number of times.
    """

    __slots__ = ("_data", "_descriptor", "_offset", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._descriptor = -1
        self._offset = 0
        self.size = len(data)

    @classmethod
    def of_file(cls, descriptor: int, size: int) -> "Blob":
        """The first `size` bytes of an open file; small ones are read at once.

        Raises:
            OSError: reading failed.
        """
        if size <= CHUNK:
            return cls(_read(descriptor, 0, size))
        blob = cls(b"")
        blob._descriptor, blob.size = descriptor, size
        return blob

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`: fewer at the end, none outside.

        Raises:
            OSError: reading failed.
        """
        if offset < 0 or offset >= self.size or size <= 0:
            return b""
        size = min(size, self.size - offset)
        offset += self._offset
        if self._descriptor < 0:
            if size == len(self._data):
                return self._data
            return self._data[offset : offset + size]
        return _read(self._descriptor, offset, size)

    def part(self, offset: int, size: int) -> "Blob":
        """The range as a blob of its own, cut off at this blob's end."""
        offset = min(max(offset, 0), self.size)
        blob = Blob(self._data)
        blob._descriptor = self._descriptor
        blob._offset = self._offset + offset
        blob.size = min(max(size, 0), self.size - offset)
        return blob

    def chunks(self) -> Iterator[Chunk]:
        """Windows that cover the blob once, each with its surroundings."""
        if self._descriptor < 0 or self.size <= CHUNK:
            if self.size:
                yield Chunk(0, self.read(0, self.size), 0, self.size)
            return
        for window in range(0, self.size, CHUNK):
            base = max(0, window - BEHIND)
            end = min(self.size, window + CHUNK)
            data = self.read(base, end + AHEAD - base)
            yield Chunk(base, data, window - base, end - base)


def _read(descriptor: int, offset: int, size: int) -> bytes:
    data = os.pread(descriptor, size, offset)
    if len(data) == size:
        return data
    parts = [data]
    while data and (size := size - len(data)):
        offset += len(data)
        data = os.pread(descriptor, size, offset)
        parts.append(data)
    return b"".join(parts)
