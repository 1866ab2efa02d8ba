"""Compressed streams in the middle of other contents: in kernel images, in scripts with payload.

They are found by how they begin, at any place; what then does not unpack is taken for chance.
"""

import re
from collections.abc import Iterator
from typing import Final

from shim.gates import unpack
from shim.gates.blob import Blob
from shim.gates.unpack import Budget, Unpacked, Unpacker, unpacked

BEGINNINGS: Final[dict[str, tuple[bytes, re.Pattern[bytes], Unpacker]]] = {
    # RFC 1952: method 8, no reserved flag, a level that compressors state, a known system
    "gzip": (
        b"\x1f\x8b\x08",
        re.compile(rb"\x1f\x8b\x08[\0-\x1f].{4}[\0\2\4][\0-\x0d\xff]", re.DOTALL),
        unpack.GZIP,
    ),
    "xz": (b"\xfd7zXZ\0", re.compile(rb"\xfd7zXZ\0\0[\0\1\4\n]"), unpack.XZ),
    "bzip2": (b"BZh", re.compile(rb"BZh[1-9]1AY&SY"), unpack.BZIP2),
    "zstd": (b"\x28\xb5\x2f\xfd", re.compile(rb"\x28\xb5\x2f\xfd"), unpack.ZSTD),
}
"""Name -> the bytes searched, what must stand there, and what unpacks it."""

LEAST: Final = 64
"""Bytes that a stream which ends in damage must have given, or it is none."""


def streams(blob: Blob, budget: Budget) -> Iterator[tuple[str, int, Unpacked]]:
    """Name, offset and contents of each stream, good until the next is asked for.

    Text is passed by: no stream of more than a few hundred bytes is without a zero.

    Raises:
        LimitError: the budget does not allow to unpack one.
        TooManyError: so many places look like a stream that no more are tried.
    """
    behind = 0
    for chunk in blob.chunks():
        if b"\0" not in chunk.data:
            continue
        for name, (magic, pattern, unpacker) in BEGINNINGS.items():
            place = chunk.data.find(magic, chunk.start)
            while 0 <= place < chunk.stop:
                offset = chunk.base + place
                if offset >= behind and pattern.match(chunk.data, place):
                    budget.attempt()
                    source = blob.part(offset, blob.size - offset)
                    with unpacked(source, unpacker, budget, whole=False) as found:
                        if found.damage is None:
                            behind = offset + found.used
                        if found.damage is None or found.blob.size >= LEAST:
                            yield name, offset, found
                place = chunk.data.find(magic, place + 1)
