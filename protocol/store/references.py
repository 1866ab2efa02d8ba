"""Which store paths a stream of bytes mentions: Nix's own rule, with counts and offsets.

A mention is the 32-character digest of a path, anywhere, whatever stands around it: in contents,
names and link targets of a NAR alike.  Compressed or encoded mentions are not seen.  Checked
against Nix's `RefScanSink`, which stops at the first mention where this counts all.

How it is fast: a run of 32 base-32 characters covers eight consecutive ones of every fourth byte.
So every fourth byte is looked at first, with the C loops of `bytes`; only where eight in a row
could be digits the bytes themselves are read, and only there pieces of 32 are looked up in the set
of digests.  In long runs (other base 32, or an attack) eight characters of every 24 are looked up
as a number first.  Time is linear in the length of the stream and hardly depends on the number of
digests.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from protocol.store.base32 import ALPHABET
from protocol.store.path import DIGEST_LENGTH, BadStorePath

_STRIDE: Final = 4
_BLOCK: Final = 1 << 16
"""Bytes looked at in one go: the samples of a block stay in the processor's nearer caches."""

_LONG_RUN: Final = 96
"""Characters from which on a run is looked up by pieces; below, setting that up costs more."""

_PATIENCE: Final = 1 << 20
"""Characters of long runs that are looked up place by place before the pieces are made, which takes
as long for some thousand digests."""

_SPACING: Final = 24
"""Any 32 bytes in a row hold eight that begin at a multiple of this."""

_TAIL: Final = DIGEST_LENGTH - 1

_is_digit: Final = bytes(byte in ALPHABET.encode() for byte in range(256))
_digits_in_sample: Final = b"\1" * (DIGEST_LENGTH // _STRIDE)
_find_run: Final = re.compile(f"[{ALPHABET}]{{{DIGEST_LENGTH},}}".encode()).search
_is_digest: Final = re.compile(f"[{ALPHABET}]{{{DIGEST_LENGTH}}}".encode()).fullmatch


@dataclass(slots=True)
class Mentions:
    """Where one digest was found."""

    count: int = 0
    offsets: list[int] = field(default_factory=list)
    """Ascending offsets of the first mentions, from the start of the stream."""


class ReferenceScanner:
    """Looks for a set of digests in one stream."""

    def __init__(self, digests: Iterable[str], keep_offsets: int = 16) -> None:
        """Look for digests.

        Args:
            digests: 32 base-32 characters each, as `StorePath.digest` gives them.
            keep_offsets: how many offsets are kept per digest.

        Raises:
            BadStorePath: a text that is no digest.
        """
        self.found: dict[str, Mentions] = {}
        """The digests met so far, in order of their first mention."""
        self.offset = 0
        """How many bytes have been read."""
        self._keep = keep_offsets
        self._tail = b""
        self._digests: dict[bytes, str] = {}
        for digest in digests:
            encoded = digest.encode("utf-8", "surrogateescape")
            if not _is_digest(encoded):
                raise BadStorePath(f"no digest of {DIGEST_LENGTH} base-32 characters: `{digest}`")
            self._digests[encoded] = digest
        self._long = 0
        self._pieces: dict[int, list[int]] = {}

    def feed(self, data: bytes) -> None:
        """Read some more bytes."""
        for start in range(0, len(data), _BLOCK):
            piece = data[start : start + _BLOCK] if len(data) > _BLOCK else data
            block = self._tail + piece if self._tail else piece
            base = self.offset - len(self._tail)
            for begin, end in _runs(block):
                for place in self._places(block, begin, end):
                    digest = self._digests.get(block[place : place + DIGEST_LENGTH])
                    if digest is not None:
                        self._mention(digest, base + place)
            self._tail = block[-_TAIL:]
            self.offset += len(piece)

    def _places(self, block: bytes, begin: int, end: int) -> Iterable[int]:
        """Where in a run a digest has to be looked for."""
        if end - begin >= _LONG_RUN:
            self._long += end - begin
            if self._long > _PATIENCE:
                return self._likely(block, begin, end)
        return range(begin, end - _TAIL)

    def _mention(self, digest: str, offset: int) -> None:
        mentions = self.found.get(digest)
        if mentions is None:
            mentions = self.found[digest] = Mentions()
        mentions.count += 1
        if len(mentions.offsets) < self._keep:
            mentions.offsets.append(offset)

    def _likely(self, block: bytes, begin: int, end: int) -> Iterable[int]:
        """The places in a run where a digest may begin, told by one piece of it."""
        pieces = self._pieces or self._cut()
        first = -(-begin // 8) * 8
        view = memoryview(block)[first : end // 8 * 8].cast("Q")[:: _SPACING // 8]
        if pieces.keys().isdisjoint(view):
            return ()
        places = {
            first + index * _SPACING - start
            for index, number in enumerate(view)
            if number in pieces
            for start in pieces[number]
        }
        return sorted(place for place in places if begin <= place < end - _TAIL)

    def _cut(self) -> dict[int, list[int]]:
        """The pieces of eight characters a digest holds, and where in digests they start."""
        for digest in self._digests:
            for start in range(_SPACING):
                piece = int.from_bytes(digest[start : start + 8], sys.byteorder)
                starts = self._pieces.setdefault(piece, [])
                if start not in starts:
                    starts.append(start)
        return self._pieces


def _runs(block: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of all runs of 32 and more base-32 characters."""
    sample = block[::_STRIDE].translate(_is_digit)
    at = sample.find(_digits_in_sample)
    while at >= 0:
        after = sample.find(b"\0", at)
        if after < 0:
            after = len(sample)
        begin, end = max(0, (at - 1) * _STRIDE + 1), after * _STRIDE
        while (run := _find_run(block, begin, end)) is not None:
            begin = run.end()
            yield run.span()
        at = sample.find(_digits_in_sample, after)
