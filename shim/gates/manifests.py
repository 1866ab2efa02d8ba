"""Checksums of files that other files state: lists such as `SHA256SUMS`, Python's `RECORD`.

A file that is listed like that cannot be changed without making the list wrong.  Looked for are the
usual digests of whole files, in hexadecimal and base 64, anywhere in plain contents.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shim.gates.blob import Blob

ALGORITHMS: Final = ("md5", "sha1", "sha256", "sha384", "sha512")

_HEXADECIMAL: Final = re.compile(rb"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,128}")
_BASE64: Final = re.compile(rb"[0-9A-Za-z+/_-]{22,}")
"""128 bits, the shortest digest, have 22 characters."""

_STANDARD: Final = bytes.maketrans(b"-_", b"+/")

PIECE: Final = 1 << 20


def digests(path: Path) -> frozenset[bytes]:
    """How the contents of a file may be named in a list.

    Raises:
        OSError: it cannot be read.
    """
    sums = [hashlib.new(name, usedforsecurity=False) for name in ALGORITHMS]
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            for each in sums:
                each.update(piece)
    spelled = set()
    for each in sums:
        spelled |= {each.hexdigest().encode(), b64encode(each.digest()).rstrip(b"=")}
    return frozenset(spelled)


def states(blob: Blob, wanted: frozenset[bytes]) -> bool:
    """Whether contents name one of the digests.

    Raises:
        OSError: reading failed.
    """
    return any(not wanted.isdisjoint(_spellings(chunk.data)) for chunk in blob.chunks())


def _spellings(data: bytes) -> Iterator[bytes]:
    for word in _HEXADECIMAL.findall(data):
        yield word.lower()
    for word in _BASE64.findall(data):
        yield word.translate(_STANDARD)
        # `sha256-...`, as in npm's and Nix's own notation
        yield word.partition(b"-")[2].translate(_STANDARD)
