"""The body of `AddMultipleToStore`: many paths in one stream, dependencies first.

    body = u64 count, count x (path, path info as of 1.16, NAR)

The layout of the infos is that of 1.16 whatever was negotiated.  A reader that has a path already
skips `nar_size` bytes, so that a wrong size is an error here.
Checked against Nix's `Store::addMultipleToStore`.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.errors import RemoteProtocolError
from protocol.limits import MAX_ITEMS, MAX_REQUEST
from protocol.store.path import STORE_DIR, StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Dialect
from protocol.wire.bodies import NarBody
from protocol.wire.pieces import PieceReader
from protocol.wire.source import WORD
from protocol.worker.results import ValidPathInfo, valid_path_info
from protocol.worker.versions import minor

_NUMBER: Final = minor(16)
_DIALECT: Final = Dialect(_NUMBER)


@dataclass(frozen=True, slots=True)
class Count:
    """How many paths follow."""

    count: int


@dataclass(frozen=True, slots=True)
class Item:
    """A path begins; its NAR follows."""

    path: StorePath
    info: PathInfo


@dataclass(frozen=True, slots=True)
class NarData:
    """Some of the NAR, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NarEnd:
    """The NAR of the latest item is complete."""


Event: TypeAlias = Count | Item | NarData | NarEnd
"""All that such a body consists of."""


def count(number: int) -> bytes:
    """What the body begins with."""
    return WORD.pack(number)


def info(path: StorePath, about: PathInfo) -> bytes:
    """What comes before the NAR of `path`."""
    return valid_path_info.put(ValidPathInfo(path, about), _DIALECT)


class MultipleReader(PieceReader[Event]):
    """One body, read piece by piece.  Holds no NAR."""

    LAST = "the last path"
    CUT = "the body ends before all of its paths have come"

    def __init__(self, store_dir: str = STORE_DIR) -> None:
        super().__init__(MAX_REQUEST)
        self._dialect = Dialect(_NUMBER, store_dir=store_dir)
        self._left: int | None = None
        self._nar: NarBody | None = None
        self._size = 0
        self._left_of_nar = 0

    @property
    def finished(self) -> bool:
        """Whether all paths that were announced have come."""
        return self._left == 0 and self._nar is None

    def _step(self, events: list[Event]) -> None:
        events.append(self._next())

    def _next(self) -> Event:
        if self._left is None:
            self._left = self._source.u64()
            if self._left > MAX_ITEMS:
                raise RemoteProtocolError(f"{self._left} paths, at most {MAX_ITEMS} are accepted")
            return Count(self._left)
        if self._nar is None:
            item = valid_path_info.get(self._source, self._dialect)
            self._nar = NarBody()
            self._size = self._left_of_nar = item.info.nar_size
            return Item(item.path, item.info)
        if self._nar.finished:
            return self._end_nar()
        # Not more than was announced, so that what lies behind is not copied for every NAR.
        if not self._left_of_nar:
            raise RemoteProtocolError(f"a NAR does not end within the announced {self._size} bytes")
        data = self._nar.read(self._source, self._left_of_nar)
        self._left_of_nar -= len(data)
        return NarData(data)

    def _end_nar(self) -> Event:
        assert self._left is not None
        if self._left_of_nar:
            size = self._size - self._left_of_nar
            raise RemoteProtocolError(f"a NAR of {size} bytes was announced to have {self._size}")
        self._left -= 1
        self._nar = None
        self._source.begin(MAX_REQUEST)
        return NarEnd()
