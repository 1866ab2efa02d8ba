"""Cut single values out of the recordings: `python -m tests.golden.cut`.

Every value in every message is encoded by itself, and has to be found in the recorded bytes: the
files hold what a Nix program wrote, not what we would have written.  A type whose layout depends on
the version gets a file per version; of each type and version the first values of different length
are kept.  The JSON beside them is `nix-shim decode`'s, for people to review.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from protocol.serve import events as serve
from protocol.serve.values import BuildOptions
from protocol.store.build_result import BuildResult
from protocol.store.content_address import ContentAddress
from protocol.store.derivation import BasicDerivation
from protocol.store.derived_path import Built, Opaque
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.realisation import DrvOutput, Realisation
from protocol.transcript.decode import messages
from protocol.transcript.record import Direction, RecordingReader
from protocol.version import Dialect
from protocol.worker import events as worker
from protocol.worker.handshake import FEATURES_SINCE, ServerInfo, Trust
from protocol.worker.results import Added, BuildMode, ValidPathInfo
from shim.valuejson.convert import to_json_list
from shim.valuejson.form import render
from shim.valuejson.types import Protocol, readings
from tests.support.recorded import RECORDINGS

HERE: Final = Path(__file__).parent
KEPT: Final = 3
"""Values of each type and version."""

BY_CLASS: Final[Mapping[type, str]] = {
    BasicDerivation: "basic-derivation",
    BuildMode: "build-mode",
    BuildOptions: "build-options",
    BuildResult: "build-result",
    Built: "derived-path",
    ContentAddress: "content-address",
    DrvOutput: "drv-output",
    Opaque: "derived-path",
    PathInfo: "unkeyed-valid-path-info",
    Realisation: "realisation",
    StorePath: "store-path",
    ValidPathInfo: "valid-path-info",
    ServerInfo: "client-handshake-info",
    Trust: "optional-trusted-flag",
    str: "string",
}

BY_FIELD: Final = {
    "content_address": "optional-content-address",
    "deriver": "optional-store-path",
}

LAYOUTS: Final[Mapping[tuple[Protocol, str], tuple[int, ...]]] = {
    (Protocol.SERVE, "build-options"): (2, 3, 7),
    (Protocol.SERVE, "build-result"): (3, 6),
    (Protocol.SERVE, "unkeyed-valid-path-info"): (4,),
    (Protocol.WORKER, "build-result"): (28, 29, 37),
    (Protocol.WORKER, "client-handshake-info"): (33, 35),
    (Protocol.WORKER, "derived-path"): (30,),
    (Protocol.WORKER, "handshake-to-client"): (38,),
    (Protocol.WORKER, "keyed-build-result"): (37,),
    (Protocol.WORKER, "unkeyed-valid-path-info"): (),
    (Protocol.WORKER, "valid-path-info"): (),
}
"""The minor versions that we recorded and from which on a type is laid out in another way."""


def values(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value within a value that has a type of its own, with the type's name."""
    if isinstance(value, Added) and value.info is not None:
        value = ValidPathInfo(value.path, value.info)
    name = BY_CLASS.get(type(value))
    if name is not None:
        yield name, value
    if isinstance(value, str):
        return
    if isinstance(value, tuple | frozenset):
        if value and all(type(item) is str for item in value):
            yield ("vector" if isinstance(value, tuple) else "set"), value
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], BuildResult):
            yield "keyed-build-result", value
        for item in value:
            yield from values(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from values(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, Dialect):
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.name in BY_FIELD:
                yield BY_FIELD[field.name], item
            yield from values(item)


def said(event: Any) -> Any:
    """What is to be cut out of an event."""
    match event:
        case worker.Welcomed(_, daemon_version, trust):
            return ServerInfo(daemon_version, trust)
        case worker.Asked(request) | serve.Asked(request):
            return request
        case worker.Replied(value) | serve.Replied(value):
            return value
        case _:
            return None


class Cuts:
    """What has been kept so far."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Protocol, str, int], tuple[Dialect, list[bytes]]] = {}

    def take(self, file: Path) -> None:
        """Cut the values out of one recording."""
        reader = RecordingReader()
        frames = list(reader.feed(file.read_bytes()))
        assert reader.header is not None
        protocol = Protocol(reader.header.protocol.value)
        streams = {
            direction: b"".join(frame.data for frame in frames if frame.direction is direction)
            for direction in Direction
        }
        dialect: Dialect | None = None
        for message in messages([file.read_bytes()]):
            if isinstance(message.event, worker.Greeted | serve.Greeted):
                dialect = message.event.dialect
                self.keep(
                    protocol, "handshake-to-client", dialect, greeting(streams, protocol, dialect)
                )
            assert dialect is not None
            for name, value in values(said(message.event)):
                (way, *_) = readings(protocol, name, dialect)
                data = way.codec.put(value, dialect)
                if data in streams[message.direction]:
                    self.keep(protocol, name, dialect, data)

    def keep(self, protocol: Protocol, name: str, dialect: Dialect, data: bytes) -> None:
        """Keep a value, unless there are enough or one of its length."""
        borders = LAYOUTS.get((protocol, name), ())
        layout = sum(dialect.number.minor >= border for border in borders)
        _, found = self.kept.setdefault((protocol, name, layout), (dialect, []))
        if len(found) < KEPT and len(data) not in map(len, found):
            found.append(data)

    def files(self) -> Iterator[tuple[Path, bytes, str]]:
        """What to write: path without ending, bytes, JSON."""
        for (protocol, name, _), (dialect, found) in self.kept.items():
            stem = f"{name}-{dialect.number}" if (protocol, name) in LAYOUTS else name
            data = b"".join(found)
            json = render(to_json_list(readings(protocol, name, dialect), data, dialect))
            yield HERE / "values" / protocol / stem, data, json


def greeting(streams: Mapping[Direction, bytes], protocol: Protocol, dialect: Dialect) -> bytes:
    """What the server said first; no Nix that we recorded offers features."""
    features = protocol is Protocol.WORKER and dialect.number >= FEATURES_SINCE
    return streams[Direction.TO_CLIENT][: 24 if features else 16]


def main() -> None:
    """Write `values/` anew."""
    cuts = Cuts()
    for file in RECORDINGS:
        cuts.take(file)
    for old in HERE.glob("values/*/*"):
        old.unlink()
    for stem, data, json in cuts.files():
        stem.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{stem}.bin").write_bytes(data)
        Path(f"{stem}.json").write_text(json + "\n")


if __name__ == "__main__":
    main()
