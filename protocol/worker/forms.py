"""How the body of a request travels, which depends on the version.

| body | up to 1.20 | 1.21, 1.22 | 1.23, 1.24 | since 1.25 |
|---|---|---|---|---|
| `NAR` | raw | pulled | framed | framed |
| `CONTENTS` | raw NAR, of a file as well | the same | the same | framed |
| `STREAM` | | | framed (1.32) | framed |
| `EXPORT` | pulled | pulled | pulled | pulled |

*Pulled*: the server asks for each piece with `Read`, and the client answers with a string.
*Raw*: the NAR follows the request as it is.
Checked against `wopAddToStore`, `wopAddToStoreNar`, `wopImportPaths` in `daemon.cc` of 2.3 to 2.34.
"""

from enum import Enum, auto
from typing import Any, Final

from protocol.errors import RemoteProtocolError
from protocol.nar.events import Data, Directory, Symlink
from protocol.nar.format import CLOSE, MAGIC, REGULAR
from protocol.nar.reader import NarReader
from protocol.version import Dialect
from protocol.wire.bodies import Body as BodyReader
from protocol.wire.bodies import ExportBody, FramedBody, NarBody
from protocol.wire.codec import blob
from protocol.wire.operation import Body, Request
from protocol.wire.source import Source
from protocol.worker.uploads import AddToStore
from protocol.worker.versions import OLDEST, minor

PULL: Final = 64 << 10
"""Bytes asked for at once.  Nix asks for 32 KiB; its clients give that or less."""

piece: Final = blob(PULL)
"""The answer to a pull."""


class Form(Enum):
    """How a body travels."""

    NONE = auto()
    RAW = auto()
    PULLED = auto()
    FRAMED = auto()


_SINCE: Final = {
    Body.NONE: ((OLDEST, Form.NONE),),
    Body.NAR: ((minor(23), Form.FRAMED), (minor(21), Form.PULLED), (minor(0), Form.RAW)),
    Body.CONTENTS: ((minor(25), Form.FRAMED), (minor(0), Form.RAW)),
    Body.STREAM: ((minor(0), Form.FRAMED),),
    Body.EXPORT: ((minor(0), Form.PULLED),),
}


def form(body: Body, dialect: Dialect) -> Form:
    """How such a body travels."""
    return next(found for since, found in _SINCE[body] if dialect.number >= since)


class FlatBody:
    """A raw NAR of one file, of which the contents are the payload."""

    def __init__(self) -> None:
        self.finished = False
        self._reader = NarReader()

    def read(self, source: Source) -> bytes:
        """Take what belongs to the NAR and give back what belongs to the file."""
        pieces = []
        for event in self._reader.feed(source.take_some()):
            match event:
                case Data(data):
                    pieces.append(data)
                case Directory() | Symlink():
                    raise RemoteProtocolError("a flat hash is asked for what is not a file")
                case _:
                    pass
        if self._reader.finished:
            self.finished = True
            source.untake(len(self._reader.leftover))
        return b"".join(pieces)


def flat_nar(contents: bytes) -> bytes:
    """The NAR of one file, as peers below 1.25 are sent it."""
    size = len(contents)
    return b"".join((MAGIC, REGULAR, size.to_bytes(8, "little"), contents, bytes(-size % 8), CLOSE))


def is_flat(request: Request[Any]) -> bool:
    """Whether the request's `CONTENTS` are those of one file."""
    return isinstance(request, AddToStore) and request.addressing.is_flat


def reader(request: Request[Any], dialect: Dialect) -> BodyReader:
    """What finds the end of the request's body, once a pulled one has been unwrapped."""
    body = request.operation.body
    if form(body, dialect) is Form.FRAMED:
        return FramedBody()
    if body is Body.EXPORT:
        return ExportBody()
    return FlatBody() if is_flat(request) else NarBody()
