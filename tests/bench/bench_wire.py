"""How fast the worker protocol is spoken.  Run as `python -m tests.bench.bench_wire`.

Everything is in memory and arrives in pieces as a socket gives them: 256 KiB for bodies, 32 KiB
(the buffer of Nix) for values.  "Relay" is what a session does with a body between client and
daemon: receive, unframe, frame again.
"""

import hashlib

from protocol.common import path_set
from protocol.store.base32 import encode
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Dialect
from protocol.wire.bodies import frame
from protocol.wire.codec import decode, list_of
from protocol.wire.source import Source, Underrun
from protocol.worker import multiple
from protocol.worker.client import ClientConnection
from protocol.worker.events import BodyData
from protocol.worker.forms import flat_nar
from protocol.worker.handshake import Trust
from protocol.worker.messages import AddMultipleToStore
from protocol.worker.multiple import MultipleReader
from protocol.worker.results import ValidPathInfo, valid_path_info
from protocol.worker.server import ServerConnection
from protocol.worker.versions import NEWEST
from tests.bench.measure import rate

DIALECT = Dialect(NEWEST)
PATHS = 10_000
CHUNK = 32 << 10
PIECE = 256 << 10
BODY = 256 << 20


def path(number: int) -> StorePath:
    digest = encode(hashlib.sha256(str(number).encode()).digest()[:20])
    return StorePath.of(f"{digest}-package-{number % 97}.{number % 10}-dev")


def info(number: int) -> PathInfo:
    return PathInfo(
        deriver=StorePath(f"{path(number + 1)}.drv"),
        nar_hash=Hash.of(str(number).encode()),
        references=frozenset(path(number + other) for other in range(5)),
        registration_time=1_700_000_000,
        nar_size=number,
        signatures=frozenset({f"cache.example.org-1:{'A' * 86}=="}),
    )


def in_chunks(data: bytes) -> frozenset[StorePath]:
    source = Source()
    for at in range(0, len(data), CHUNK):
        source.feed(data[at : at + CHUNK])
        if source.starved:
            continue
        try:
            return path_set.get(source, DIALECT)
        except Underrun:
            continue
    raise AssertionError("incomplete")


def connected() -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection(), ServerConnection()
    server.receive(client.hello())
    server.next_event()
    client.receive(server.to_send())
    client.next_event()
    server.receive(client.to_send())
    server.next_event()
    client.receive(server.to_send() + server.welcome("2.34.8", Trust.TRUSTED))
    client.next_event()
    return client, server


def relay() -> int:
    """Take a framed body of `BODY` bytes from a client and frame it for a daemon."""
    client, server = connected()
    upstream, daemon = connected()
    server.receive(client.ask(AddMultipleToStore()))
    server.next_event()
    daemon.receive(upstream.ask(AddMultipleToStore()))
    wire = frame(bytes(CHUNK)) * (PIECE // CHUNK)
    sent = 0
    for _ in range(BODY // PIECE):
        server.receive(wire)
        while (event := server.next_event()) is not None:
            assert isinstance(event, BodyData)
            sent += len(upstream.body(event.data))
    assert sent >= BODY
    return sent


def read_multiple(body: bytes) -> None:
    reader = MultipleReader()
    for at in range(0, len(body), PIECE):
        reader.feed(body[at : at + PIECE])
    reader.end()


def main() -> None:
    paths = frozenset(map(path, range(PATHS)))
    wire = path_set.put(paths, DIALECT)
    rate(
        "paths of a reply, decoded at once",
        "paths",
        PATHS,
        lambda: decode(path_set, wire, DIALECT),
        300_000,
    )
    rate("paths of a reply, in 32 KiB pieces", "paths", PATHS, lambda: in_chunks(wire), 300_000)
    rate("paths of a request, encoded", "paths", PATHS, lambda: path_set.put(paths, DIALECT))

    infos = list_of(valid_path_info)
    known = tuple(ValidPathInfo(path(number), info(number)) for number in range(2000))
    told = infos.put(known, DIALECT)
    rate(
        "path infos of 5 references, encoded",
        "infos",
        len(known),
        lambda: infos.put(known, DIALECT),
        30_000,
    )
    rate(
        "path infos of 5 references, decoded",
        "infos",
        len(known),
        lambda: decode(infos, told, DIALECT),
        30_000,
    )

    rate("relay of a framed body", "MB", BODY / 1e6, relay, 500)

    nar = flat_nar(bytes(2000))
    items = [
        multiple.info(each.path, PathInfo(nar_hash=each.info.nar_hash, nar_size=len(nar))) + nar
        for each in known
    ]
    body = multiple.count(len(items)) + b"".join(items)
    rate("AddMultipleToStore, small paths, read", "paths", len(items), lambda: read_multiple(body))


if __name__ == "__main__":
    main()
