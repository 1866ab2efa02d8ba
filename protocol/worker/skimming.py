"""Requests and answers that are the same in every version, told from their bytes without decoding.

Copying asks the same few questions of every path.  Whoever stands between a client and its daemon
may pass them on as they are, whatever either speaks, and need not look further than this.

| operation | request | answer |
|---|---|---|
| `IsValidPath`, `AddTempRoot` | path | `u64` |
| `QueryPathInfo` | path | `u64` 0, or 1 and what is known (`path_info`) |
| `NarFromPath` | path | a NAR |
| `AddToStoreNar` | path, `path_info`, two flags; a NAR, in frames since 1.23 | |

What comes in pieces, with log messages, or as an error is none of these.
"""

import struct
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.nar.reader import NarReader
from protocol.wire.codec import to_text
from protocol.wire.source import WORD
from protocol.worker import stderr
from protocol.worker.messages import (
    AddTempRoot,
    AddToStoreNar,
    IsValidPath,
    NarFromPath,
    QueryPathInfo,
)

_HEAD: Final = struct.Struct("<QQ")
"""The number of an operation and the length of the text behind it; an answer and one number."""

_VALIDITY: Final = IsValidPath.operation.code
_INFO: Final = QueryPathInfo.operation.code
_NAR: Final = NarFromPath.operation.code

OF_A_PATH: Final = {
    each.operation.code: each.operation.name
    for each in (IsValidPath, QueryPathInfo, NarFromPath, AddTempRoot)
}
"""Requests that only name a path: number -> name."""

_NUMBERS_OF_INFO: Final = 3 * WORD.size
"""Registration time, size of the NAR, whether the path was built by that store."""

_BEHIND: Final = (struct.error, OverflowError)
"""What reading behind the data raises: lengths that are none lead anywhere."""

_FLAGS: Final = 2 * WORD.size
"""Whether to repair, and to believe without signatures."""


def is_request(data: bytes) -> bool:
    """Whether bytes of a client are one whole request that only names a path."""
    if len(data) < _HEAD.size:
        return False
    code, length = _HEAD.unpack_from(data)
    return code in OF_A_PATH and len(data) == _HEAD.size + length + -length % 8


def request(data: bytes) -> tuple[int, str] | None:
    """The number and the path, unchecked, of such a request; None: it is another."""
    if not is_request(data):
        return None
    code, length = _HEAD.unpack_from(data)
    return code, to_text(data[_HEAD.size : _HEAD.size + length])


def is_answer(code: int, data: bytes) -> bool:
    """Whether bytes of a daemon are one whole answer to such a request, and nothing else."""
    if len(data) < _HEAD.size:
        return False
    last, number = _HEAD.unpack_from(data)
    if last != stderr.LAST:
        return False
    if code == _NAR:
        return _is_nar(data[WORD.size :])
    if code == _INFO and number == 1:
        return _is_info(data)
    return len(data) == _HEAD.size


def says_valid(code: int, data: bytes) -> bool:
    """Whether such an answer says that the path is valid."""
    return code in (_VALIDITY, _INFO) and _HEAD.unpack_from(data)[1] == 1


def _is_nar(data: bytes) -> bool:
    reader = NarReader()
    try:
        reader.feed(data)
    except RemoteProtocolError:
        return False
    return reader.finished and not reader.leftover


def upload(data: bytes) -> int | None:
    """How long the request `AddToStoreNar` is that some bytes begin with; None: another, or cut."""
    if len(data) < _HEAD.size or WORD.unpack_from(data)[0] != AddToStoreNar.operation.code:
        return None
    try:
        end = _behind_info(data, _behind_texts(data, WORD.size, 1)) + _FLAGS
    except _BEHIND:
        return None
    return end if end <= len(data) else None


def _is_info(data: bytes) -> bool:
    try:
        return _behind_info(data, _HEAD.size) == len(data)
    except _BEHIND:
        return False


def _behind_info(data: bytes, at: int) -> int:
    """Where what is known about a path ends that begins at `at`.

    Raises:
        struct.error, OverflowError: somewhere behind the data.
    """
    at = _behind_texts(data, at, 2)  # deriver, hash
    (references,) = WORD.unpack_from(data, at)
    at = _behind_texts(data, at + WORD.size, references) + _NUMBERS_OF_INFO
    (signatures,) = WORD.unpack_from(data, at)
    return _behind_texts(data, at + WORD.size, signatures + 1)  # ... and the content address


def _behind_texts(data: bytes, at: int, count: int) -> int:
    """Where `count` texts end that begin at `at`.

    Raises:
        struct.error, OverflowError: somewhere behind the data.
    """
    for _ in range(count):
        (length,) = WORD.unpack_from(data, at)
        at += WORD.size + length + -length % 8
    return at
