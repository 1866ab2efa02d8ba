"""How fast NARs are read, written, packed and unpacked.  Run as `python -m tests.bench.bench_nar`.

Everything but the file trees is in memory; the trees lie in a temporary directory.  Amounts are
bytes of NAR, or entries of one directory with files of 1,000 bytes.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from protocol.nar.digest import HashingReader
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular
from protocol.nar.reader import NarReader
from protocol.nar.writer import NarWriter
from shim.filetree import pack, unpack
from tests.bench.measure import rate

LARGE = 256 << 20
SMALL = 1000
ENTRIES = 50_000


def small_files() -> Iterator[Event]:
    """A directory with many small files."""
    yield Directory()
    for number in range(ENTRIES):
        yield Entry(b"file-%06d" % number)
        yield Regular(executable=False, size=SMALL)
        yield Data(bytes(SMALL))
        yield End()
    yield End()


def cut(data: bytes, size: int) -> list[bytes]:
    """The pieces a socket would give, so that cutting them is not measured."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def reading(pieces: list[bytes], kind: Callable[[], NarReader] = NarReader) -> Callable[[], None]:
    def read() -> None:
        reader = kind()
        for piece in pieces:
            reader.feed(piece)
        reader.end()

    return read


def main() -> None:
    """Measure and print."""
    contents = hashlib.sha256(b"").digest() * (LARGE // 32)
    file: list[Event] = [Regular(executable=False, size=LARGE), Data(contents), End()]
    large = NarWriter().write_all(file)
    for size in (32 << 10, 1 << 20):
        pieces = cut(large, size)
        where = f"in pieces of {size >> 10} KiB"
        rate(f"read a large file {where}", "MB", len(large) / 1e6, reading(pieces), 1000)
        rate(f"... and hash it {where}", "MB", len(large) / 1e6, reading(pieces, HashingReader))
    rate("SHA-256 of the same bytes alone", "MB", len(large) / 1e6, lambda: hashlib.sha256(large))
    small = NarWriter().write_all(small_files())
    for size in (32 << 10, 1 << 20):
        pieces = cut(small, size)
        where = f"in pieces of {size >> 10} KiB"
        rate(f"read small files {where}", "entries", ENTRIES, reading(pieces), 50_000)
    events = list(small_files())
    rate("write small files", "entries", ENTRIES, lambda: NarWriter().write_all(events))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        targets = iter(root / str(number) for number in range(100))
        rate("unpack small files", "entries", ENTRIES, lambda: unpack([small], next(targets)))
        rate("pack small files", "entries", ENTRIES, lambda: sum(map(len, pack(root / "0"))))
        (root / "large").write_bytes(contents)
        rate("pack a large file", "MB", LARGE / 1e6, lambda: sum(map(len, pack(root / "large"))))


if __name__ == "__main__":
    main()
