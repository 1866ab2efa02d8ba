"""Throws junk and damaged conversations at both ends of the worker protocol.

Run as `python -m tests.fuzz.fuzz_worker [MEGABYTES] [SEED]`, 24 megabytes if not told otherwise;
each input counts once for either end.  Half of the inputs are mutations of well-formed requests and
replies, half of the corpus in `tests/fuzz/corpus/worker`, all cut at random.  A connection may
report events or refuse with a `RemoteProtocolError`; anything else, an endless loop or more than a
second ends the run with the input in a file.  Inputs that reach an event or a field that none
before reached are kept in the corpus.
"""

import hashlib
import random
import re
import sys
import time
from pathlib import Path
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.nar.format import token
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Number
from protocol.wire.bodies import END_FRAME, frame
from protocol.wire.source import WORD
from protocol.worker import multiple, stderr
from protocol.worker.client import ClientConnection
from protocol.worker.events import PeerClosed
from protocol.worker.forms import flat_nar
from protocol.worker.handshake import Trust
from protocol.worker.messages import AddToStoreNar, NarFromPath, QueryPathInfo, QueryValidPaths
from protocol.worker.registry import REGISTRY
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import Next, NixError, Result, StartActivity
from protocol.worker.versions import FEATURES, NEWEST, OLDEST

CORPUS: Final = Path(__file__).parent / "corpus" / "worker"
PATIENCE: Final = 1.0
"""Seconds of processor time for one input."""

EVENTS: Final = 10_000
"""Events of one input; more is a loop."""

PATH: Final = StorePath.of("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo")
NAR: Final = flat_nar(b"contents")
INFO: Final = PathInfo(nar_hash=Hash.of(NAR), nar_size=len(NAR), references=frozenset({PATH}))

WORDS: Final = [
    *map(WORD.pack, [0, 1, 2, 8, 32, 255, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1, stderr.LAST]),
    *map(WORD.pack, REGISTRY.by_code),
    *map(WORD.pack, [stderr.ERROR, 0x6E697863, 0x6478696F, 0x126, 0x115, 0x4558494E]),
    *map(token, [PATH.encode(), b"Error", b"sha256", b"out", b"(", b")", b"type", b""]),
    NAR,
]


def server(choice: random.Random) -> ServerConnection:
    """A server that has greeted a client of a random version, or has not."""
    end = ServerConnection(newest=Number(1, choice.randint(OLDEST.minor, NEWEST.minor)))
    if choice.random() < 0.9:
        client = ClientConnection(features=FEATURES)
        end.receive(client.hello())
        end.next_event()
        client.receive(end.to_send())
        client.next_event()
        end.receive(client.to_send())
        end.next_event()
        end.welcome("2.34.8", Trust.TRUSTED)
    return end


def client(choice: random.Random) -> ClientConnection:
    """A client of a random version that has asked something, or has not."""
    end = ClientConnection(features=FEATURES)
    if choice.random() < 0.9:
        minor = choice.randint(OLDEST.minor, NEWEST.minor)
        daemon = ServerConnection(newest=Number(1, minor), features=FEATURES)
        daemon.receive(end.hello())
        daemon.next_event()
        end.receive(daemon.to_send())
        end.next_event()
        daemon.receive(end.to_send())
        daemon.next_event()
        end.receive(daemon.to_send() + daemon.welcome("2.34.8", Trust.TRUSTED))
        end.next_event()
        end.ask(
            choice.choice(
                [
                    QueryPathInfo(PATH),
                    NarFromPath(PATH),
                    QueryValidPaths(frozenset({PATH})),
                    AddToStoreNar(PATH, INFO),
                ]
            )
        )
    return end


def samples() -> list[bytes]:
    """Well-formed pieces of conversations at the newest version."""
    end = server(random.Random(0))  # noqa: S311 - repeatable on purpose
    dialect = end.dialect
    asked = [QueryPathInfo(PATH), AddToStoreNar(PATH, INFO), QueryValidPaths(frozenset({PATH}))]
    requests = [
        WORD.pack(each.operation.code) + each.operation.layout.put(each, dialect) for each in asked
    ]
    upload = multiple.count(1) + multiple.info(PATH, INFO) + NAR
    messages: list[stderr.Message] = [
        Next("building\n"),
        StartActivity(1, 3, 105, "x", (PATH, 1)),
        Result(1, 101, ("line",)),
        NixError("no", traces=("why",)),
    ]
    return [
        *requests,
        requests[1] + frame(NAR) + END_FRAME,
        WORD.pack(44) + bytes(16) + frame(upload) + END_FRAME,
        b"".join(stderr.message.put(message, dialect) for message in messages),
        WORD.pack(stderr.LAST) + WORD.pack(1) + QueryPathInfo.operation.reply.put(INFO, dialect),
        WORD.pack(stderr.LAST) + NAR,
    ]


def mutate(choice: random.Random, data: bytes) -> bytes:
    """Damage `data` a little, mostly word by word as the wire is."""
    mutant = bytearray(data)
    for _ in range(choice.randint(0, 4)):
        at = choice.randrange(len(mutant) // 8 + 1) * 8
        match choice.randrange(5):
            case 0:
                mutant[at : at + 8] = choice.choice(WORDS)
            case 1:
                mutant[at:at] = choice.choice(WORDS)
            case 2:
                del mutant[at : at + 8 * choice.randint(1, 4)]
            case 3 if mutant:
                mutant[choice.randrange(len(mutant))] = choice.randrange(256)
            case _:
                mutant += choice.randbytes(choice.randint(1, 64))
    return bytes(mutant)


def play(end: ServerConnection | ClientConnection, data: bytes, choice: random.Random) -> set[str]:
    """Feed `data` in pieces and tell what was reached.  Raises whatever is not the peer's fault."""
    reached = set()
    side = type(end).__name__
    events = 0
    at = 0
    try:
        while at <= len(data):
            size = choice.choice([1, 7, 8, 64, 4096])
            end.receive(data[at : at + size])  # the last, empty one says that nothing follows
            at += size
            while (event := end.next_event()) is not None:
                end.to_send()
                reached.add(f"{side} {type(event).__name__}")
                events += 1
                assert events < EVENTS, "an endless loop"
                if isinstance(event, PeerClosed):
                    return reached
    except RemoteProtocolError as error:
        reached.add(f"{side} {re.sub(r'[0-9]+', 'N', '.'.join(error.path))} {type(error).__name__}")
    return reached


def both(data: bytes) -> set[str]:
    """What `data` reaches at either end; the same whenever it is asked."""
    choice = random.Random(data)  # noqa: S311 - repeatable on purpose
    return play(server(choice), data, choice) | play(client(choice), data, choice)


def keep(data: bytes) -> None:
    CORPUS.mkdir(parents=True, exist_ok=True)
    (CORPUS / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 24
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    choice = random.Random(seed)  # noqa: S311 - repeatable on purpose
    corpus = [path.read_bytes() for path in sorted(CORPUS.glob("*"))]
    pool = samples() + corpus
    reached: set[str] = set()
    for data in corpus:
        reached |= both(data)
    eaten = inputs = 0
    while eaten < megabytes * 1e6:
        data = mutate(choice, choice.choice(pool))
        if choice.random() < 0.2:
            data = choice.randbytes(choice.randint(1, 4000))
        begin = time.process_time()
        try:
            fresh = both(data)
            assert time.process_time() - begin < PATIENCE, "it took too long"
        except BaseException:
            Path("fuzz-worker-failure.bin").write_bytes(data)
            print(f"seed {seed}: the input is in `fuzz-worker-failure.bin`")
            raise
        if fresh - reached and len(data) < 4096:
            reached |= fresh
            pool.append(data)
            keep(data)
        eaten += 2 * len(data)
        inputs += 1
    print(f"{eaten / 1e6:.1f} MB in {inputs} inputs, {len(reached)} places reached, seed {seed}")


if __name__ == "__main__":
    main()
