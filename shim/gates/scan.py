"""Finding store paths in bytes: Nix's digests in ASCII, UTF-16 and UTF-32.  Judges nothing.

Nix's own scanner looks for the 32 characters of known digests in ASCII.  This one also sees the
characters spaced by zeroes, and digests nobody has heard of when the store directory stands before
them.  `bytes.translate` classes every byte in one pass of C, `bytes.find` then looks for 32 members
of the class in a row; Python code runs only where such a run is.  Inside very long runs (text that
is all base 32) blocks of 16 bytes are compared, so that hostile contents cost little more than
others.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from protocol.store.base32 import ALPHABET
from shim.gates.blob import Blob, Chunk

DIGEST: Final = 32
NAME: Final = 211
"""Most characters of a store path's name."""

_MEMBER: Final = ord("a")
_OTHER: Final = ord("\n")
_CLASSES: Final = bytes(
    _MEMBER if chr(byte) in ALPHABET else 0 if byte == 0 else _OTHER for byte in range(256)
)
_STRIDES: Final = (1, 2, 4)
_RUNS: Final = {stride: (b"a" + bytes(stride - 1)) * (DIGEST - 1) + b"a" for stride in _STRIDES}
"""Bytes per character -> a digest's worth of classed characters."""

_LONG: Final = 48
"""Characters from which a run is searched by blocks."""
_BLOCK: Final = 16
"""Any 32 characters in a row contain a whole block of 16 that starts at a multiple of 16."""

_NAME_MATCH: Final = re.compile(rb"-([0-9a-zA-Z+\-._?=]+)").match


@dataclass(frozen=True, slots=True)
class Hit:
    """A digest found.

    Attributes:
        digest: the 32 characters.
        offset: of the digest's first byte in the blob.
        stride: bytes per character: 1 ASCII, 2 UTF-16, 4 UTF-32.
        name: the store path's name, when the store directory stood before the digest.
    """

    digest: str
    offset: int
    stride: int
    name: str | None


class Scanner:
    """Looks for digests.

    Args:
        wanted: digest -> anything: reported wherever they occur.
        store_dir: digests right behind this directory are reported unless they are in `known`.
        known: digests that are of no interest.
    """

    def __init__(self, wanted: Mapping[str, object], store_dir: str, known: Container[str]) -> None:
        self._wanted = wanted
        self._known = known
        prefix = f"{store_dir}/".encode()
        self._prefixes = {
            1: prefix,
            2: b"".join(bytes((byte, 0)) for byte in prefix)[:-1],
            4: b"".join(bytes((byte, 0, 0, 0)) for byte in prefix)[:-3],
        }
        self._blocks: dict[bytes, list[tuple[int, str]]] | None = None

    def blob(self, blob: Blob) -> Iterator[Hit]:
        """All hits in a blob, in no particular order.

        Raises:
            OSError: reading failed.
        """
        for chunk in blob.chunks():
            yield from self.chunk(chunk)

    def text(self, data: bytes) -> Iterator[Hit]:
        """All hits in a short text."""
        return self.chunk(Chunk(0, data, 0, len(data)))

    def chunk(self, chunk: Chunk) -> Iterator[Hit]:
        """The hits whose digest begins in the chunk's window."""
        if len(chunk.data) < DIGEST or _mostly_zeroes_without_runs(chunk.data):
            return
        classes = chunk.data.translate(_CLASSES)
        for stride in _STRIDES:
            run = _RUNS[stride]
            position = classes.find(run, chunk.start)
            while 0 <= position < chunk.stop:
                count = self._length(classes, position, stride)
                yield from self._run(chunk, position, count, stride)
                position = classes.find(run, position + count * stride)

    @staticmethod
    def _length(classes: bytes, position: int, stride: int) -> int:
        """How many characters the run at `position` has."""
        count = DIGEST
        step = 1
        further = bytes(stride - 1) + b"a"
        end = position + (count - 1) * stride + 1
        while classes.startswith(further * step, end + (count - DIGEST) * stride):
            count += step
            step = min(step * 2, 1 << 16)
        while step := step // 2:
            if classes.startswith(further * step, end + (count - DIGEST) * stride):
                count += step
        return count

    def _run(self, chunk: Chunk, position: int, count: int, stride: int) -> Iterator[Hit]:
        """The hits in a run of `count` base-32 characters."""
        end = position + (count - 1) * stride + 1
        text = chunk.data[position:end:stride]
        starts = min(count - DIGEST + 1, -(-(chunk.stop - position) // stride))
        first = 0
        if chunk.data.endswith(self._prefixes[stride], 0, position - (stride - 1)):
            digest = text[:DIGEST].decode("ascii")
            name = self._name(chunk.data, position + DIGEST * stride, stride)
            if name and digest not in self._known:
                yield Hit(digest, chunk.base + position, stride, name)
                first = 1
        for index, digest in self._wanted_in(text):
            if first <= index < starts:
                yield Hit(digest, chunk.base + position + index * stride, stride, None)

    def _wanted_in(self, text: bytes) -> Iterator[tuple[int, str]]:
        """Wanted digests in a run of base-32 characters, with their index."""
        if len(text) >= _LONG:
            yield from self._search(text)
            return
        characters = text.decode("ascii")
        for index in range(len(characters) - DIGEST + 1):
            digest = characters[index : index + DIGEST]
            if digest in self._wanted:
                yield index, digest

    def _search(self, text: bytes) -> Iterator[tuple[int, str]]:
        """Wanted digests in a long run, by aligned blocks."""
        if self._blocks is None:
            self._blocks = {}
            for digest in self._wanted:
                data = digest.encode("ascii")
                for shift in range(DIGEST - _BLOCK + 1):
                    block = data[shift : shift + _BLOCK]
                    self._blocks.setdefault(block, []).append((shift, digest))
        found: set[tuple[int, str]] = set()
        for start in range(0, len(text) - _BLOCK + 1, _BLOCK):
            for shift, digest in self._blocks.get(text[start : start + _BLOCK], ()):
                begin = start - shift
                if begin >= 0 and text[begin : begin + DIGEST] == digest.encode("ascii"):
                    found.add((begin, digest))
        yield from sorted(found)

    @staticmethod
    def _name(data: bytes, position: int, stride: int) -> str:
        """The name behind a digest that ends at `position`; empty if there is none."""
        found = _NAME_MATCH(data[position : position + (NAME + 1) * stride : stride])
        return found[1].decode("ascii") if found else ""


def _mostly_zeroes_without_runs(data: bytes) -> bool:
    """Whether one quick look tells that data full of zeroes (disk images) hold no run.

    Searching a pattern with zeroes in zeroes is slow; without them text of all widths is alike.
    """
    sample = data[::64]
    if sample.count(0) * 2 < len(sample):
        return False
    return data.translate(_CLASSES, b"\0").find(_RUNS[1]) < 0
