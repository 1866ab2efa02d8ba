"""Export streams: paths with their contents and references, as `nix-store --export` writes them.

    stream = repeat: u64 1, NAR, u64 magic, path, set of references, deriver or "", u64 0
             finally: u64 0

What is known of a path comes behind its NAR: nobody can say whose bytes they are while they pass.
The last number of an item is 1 where an obsolete signature follows, which nobody looks at.
`protocol.wire.bodies.ExportBody` finds the end of such a stream without taking it apart.
Checked against Nix's `Store::exportPath`, `Store::importPaths` and `importExportFormat`.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.common import optional_store_path, path_set, store_path
from protocol.errors import RemoteProtocolError
from protocol.limits import MAX_REQUEST
from protocol.store.path import STORE_DIR, StorePath
from protocol.version import Dialect, Number
from protocol.wire.bodies import EXPORT_MAGIC, NarBody
from protocol.wire.codec import followed_by, literal, nothing, preceded_by, tagged, text, u64, via
from protocol.wire.layout import layout, on
from protocol.wire.pieces import PieceReader
from protocol.wire.source import WORD


@dataclass(frozen=True, slots=True)
class NarData:
    """Some of the NAR of the path that comes next, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Item:
    """The NAR was complete, and is that of `path`."""

    path: StorePath
    references: frozenset[StorePath]
    deriver: StorePath | None


@dataclass(frozen=True, slots=True)
class End:
    """No further paths come."""


Event: TypeAlias = NarData | Item | End
"""All that such a stream consists of."""

_signature: Final = via(
    tagged({0: nothing, 1: text}, lambda _: 0, "mark of a signature"),
    lambda _, __: None,
    lambda _, __: None,
)
_trailer: Final = followed_by(
    preceded_by(
        literal(u64, EXPORT_MAGIC),
        layout(
            Item,
            path=on(store_path),
            references=on(path_set),
            deriver=on(optional_store_path),
        ),
    ),
    _signature,
)
_NUMBER: Final = Number(1, 0)

BEGIN: Final = WORD.pack(1)
"""What comes before each NAR."""

END: Final = WORD.pack(0)
"""What comes behind the last item."""


def trailer(item: Item) -> bytes:
    """What comes behind the NAR of `item`."""
    return _trailer.put(item, Dialect(_NUMBER))


class ExportReader(PieceReader[Event]):
    """One stream, read piece by piece.  Holds no NAR."""

    LAST = "an export"
    CUT = "the export ends before its end was said"

    def __init__(self, store_dir: str = STORE_DIR) -> None:
        super().__init__(8)
        self._dialect = Dialect(_NUMBER, store_dir=store_dir)
        self._nar: NarBody | None = None
        self._behind = False
        self._ended = False

    @property
    def finished(self) -> bool:
        """Whether the stream is complete."""
        return self._ended

    def _step(self, events: list[Event]) -> None:
        if self._nar is not None:
            events.append(NarData(self._nar.read(self._source)))
            if self._nar.finished:
                self._nar = None
                self._behind = True
                self._source.begin(MAX_REQUEST)
        elif self._behind:
            events.append(_trailer.get(self._source, self._dialect))
            self._behind = False
            self._source.begin(8)
        else:
            more = self._source.u64()
            if more > 1:
                raise RemoteProtocolError(f"neither a NAR nor the end of an export, but {more}")
            if more:
                self._nar = NarBody()
                self._source.begin(None)
            else:
                self._ended = True
                events.append(End())
