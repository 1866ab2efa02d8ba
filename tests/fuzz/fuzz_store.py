"""Throws damaged texts at every parser of the store, and damaged NARs at the reader.

Run as `python -m tests.fuzz.fuzz_store [MEGABYTES] [SEED]`, ten megabytes if not told otherwise.
Well-formed samples are mutated; a parser may give a value, which then has to survive being written
and read again, or refuse with a `RemoteProtocolError`.  Anything else, or more than a second for a
few kilobytes, ends the run with the input in a file.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.nar.digest import HashingReader
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.nar.writer import NarWriter
from protocol.store import aterm
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derived_path import parse_derived_path
from protocol.store.hash import Hash
from protocol.store.narinfo import NarInfo
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.realisation import DrvOutput, Realisation
from protocol.store.signing import PublicKey, SecretKey, parse_signature

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "derivations"
PATIENCE: Final = 1.0
"""Seconds for one input."""

PATH: Final = StorePath.of("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo")
DRV: Final = StorePath.of("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv")
ZEROES: Final = Hash.of(b"")


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def derivation(data: bytes) -> None:
    parsed = aterm.parse(data, "x")
    assert aterm.parse(aterm.unparse(parsed), "x") == parsed
    parsed.structured()


def nar(data: bytes) -> None:
    reader = HashingReader()
    step = len(data) % 97 + 1
    events: list[Event] = []
    for at in range(0, len(data), step):
        events += reader.feed(data[at : at + step])
        if reader.finished:
            break
    reader.end()
    written = NarWriter().write_all(events)
    assert written == data[: len(written)]
    assert reader.hash == Hash.of(written)


def narinfo(data: bytes) -> None:
    parsed = NarInfo.parse(text(data))
    assert NarInfo.parse(parsed.render()) == parsed


def realisation(data: bytes) -> None:
    parsed = Realisation.parse(text(data))
    assert Realisation.parse(parsed.render()) == parsed


def derived_path(data: bytes) -> None:
    for legacy in (False, True):
        parsed = parse_derived_path(text(data), legacy=legacy)
        assert parse_derived_path(parsed.render(legacy=legacy), legacy=legacy) == parsed


def content_address(data: bytes) -> None:
    parsed = ContentAddress.parse(text(data))
    assert ContentAddress.parse(parsed.render()) == parsed


def hash_(data: bytes) -> None:
    parsed = Hash.parse(text(data))
    assert Hash.parse(parsed.sri()) == parsed


def output_name(data: bytes) -> None:
    assert str(DrvOutput.parse(text(data))) == text(data)


def public_key(data: bytes) -> None:
    parsed = PublicKey.parse(text(data))
    assert PublicKey.parse(parsed.render()) == parsed


def signature(data: bytes) -> None:
    parse_signature(text(data))


TREE: Final[list[Event]] = [
    Directory(),
    Entry(b"bin"),
    Directory(),
    Entry(b"sh"),
    Regular(executable=True, size=20),
    Data(b"#!/bin/sh\necho hello"),
    End(),
    End(),
    Entry(b"link"),
    Symlink(b"bin/sh"),
    End(),
]
KEY: Final = SecretKey.generate("fuzz-1")
INFO: Final = PathInfo(
    deriver=DRV,
    nar_hash=ZEROES,
    references=frozenset({PATH}),
    nar_size=1,
    signatures=frozenset({KEY.sign("")}),
    content_address=ContentAddress(Method.NAR, ZEROES),
)

TARGETS: Final[list[tuple[Callable[[bytes], None], list[bytes]]]] = [
    (derivation, [file.read_bytes() for file in sorted(GOLDEN.glob("*.drv"))]),
    (nar, [NarWriter().write_all(TREE), NarWriter().write_all(TREE[4:7])]),
    (narinfo, [NarInfo(path=PATH, info=INFO, url="nar/x", file_size=1).render().encode()]),
    (
        realisation,
        [Realisation(DrvOutput.of(ZEROES, "out"), PATH, (KEY.sign(""),)).render().encode()],
    ),
    (derived_path, [f"{DRV}!out,dev".encode(), f"{DRV}!*".encode(), DRV.encode()]),
    (content_address, [f"fixed:r:{ZEROES}".encode(), f"text:{ZEROES}".encode()]),
    (hash_, [str(ZEROES).encode(), ZEROES.sri().encode()]),
    (output_name, [str(DrvOutput.of(ZEROES, "out")).encode()]),
    (public_key, [KEY.public().render().encode()]),
    (signature, [KEY.sign("").encode()]),
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few changes: bytes, cuts, doubled and exchanged pieces, words of eight at their places."""
    result = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        place = chance.randrange(len(result) + 1)
        if chance.random() < 0.5:
            place -= place % 8
        end = min(len(result), place + chance.choice((1, 1, 2, 8, 16, 64)))
        match chance.randrange(6):
            case 0:
                result[place:end] = chance.randbytes(end - place)
            case 1:
                result[place:end] = chance.choice((b"\0", b"\xff", b"\\", b'"', b"!", b",", b"["))
            case 2:
                del result[place:end]
            case 3:
                result[place:place] = result[place:end] * chance.randint(1, 3)
            case 4:
                del result[place:]
            case _:
                other = chance.randrange(len(result) + 1)
                result[place:end] = result[other : other + end - place]
    return bytes(result)


def main() -> None:
    """Run until enough bytes were thrown."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    left = int(megabytes * 1e6)
    tried = taken = 0
    while left > 0:
        parser, samples = chance.choice(TARGETS)
        data = mutated(chance.choice(samples), chance)
        left -= len(data)
        tried += 1
        begin = time.perf_counter()
        try:
            parser(data)
            taken += 1
        except RemoteProtocolError:
            pass
        except BaseException:
            keep(parser, data, seed)
            raise
        if time.perf_counter() - begin > PATIENCE:
            keep(parser, data, seed)
            sys.exit(f"{parser.__name__}: slower than {PATIENCE} s")
    print(f"seed {seed}: {tried} inputs, {taken} of them taken")


def keep(parser: Callable[[bytes], None], data: bytes, seed: int) -> None:
    """Write down what went wrong."""
    path = Path(f"fuzz-{parser.__name__}-{seed}.bin")
    path.write_bytes(data)
    print(f"{parser.__name__}: the input is in {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
