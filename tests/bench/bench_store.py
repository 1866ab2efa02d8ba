"""How fast paths, derivations, signatures and references are handled.

Run as `python -m tests.bench.bench_store`.  Derivations are those of `../shared/corpus`, without
which that part is left out.  References are looked for among 5,000 candidates in this machine's
libraries and Python sources, in random bytes, and in what is worst for the scanner: nothing but
base 32.
"""

import io
import os
import random
import tarfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import zstandard

from protocol.store import aterm
from protocol.store.base32 import ALPHABET
from protocol.store.hash import Hash
from protocol.store.modulo import HashModulo, check_outputs
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.references import ReferenceScanner
from protocol.store.signing import SecretKey
from tests.bench.measure import rate
from tests.support.shared import SHARED

CORPUS = SHARED / "corpus/aarch64-linux/drvs.tar.zst"
SAMPLE = 64 << 20


def corpus() -> dict[StorePath, bytes]:
    """The packed derivations."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(CORPUS.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = [(f"/{member.name}", archive.extractfile(member)) for member in archive]
    return {StorePath.parse(name): file.read() for name, file in files if file is not None}


def gather(paths: Iterable[Path]) -> bytes:
    """The files' contents, as much as is wanted."""
    parts: list[bytes] = []
    for path in sorted(paths):
        if path.is_file() and not path.is_symlink():
            parts.append(path.read_bytes())
        if sum(map(len, parts)) > SAMPLE:
            break
    return b"".join(parts)[:SAMPLE]


def bench_derivations() -> None:
    texts = corpus()
    size = sum(map(len, texts.values())) / 1e6
    parsed = {path: aterm.parse_file(path, data) for path, data in texts.items()}

    def parse() -> None:
        for path, data in texts.items():
            aterm.parse_file(path, data)

    def unparse() -> None:
        for derivation in parsed.values():
            aterm.unparse(derivation)

    def modulo() -> None:
        known = HashModulo(parsed.__getitem__)
        for derivation in parsed.values():
            check_outputs(derivation, known)

    rate("parse derivations", "MB", size, parse, 4)
    rate("print derivations", "MB", size, unparse)
    rate("recompute all output paths of a graph", "derivations", len(parsed), modulo)


def bench_values() -> None:
    digits = random.Random(0)  # noqa: S311 - a sample, no secret
    texts = [
        f"/nix/store/{''.join(digits.choices(ALPHABET, k=32))}-package-{number}-1.2.3"
        for number in range(100_000)
    ]
    rate(
        "check store paths", "paths", len(texts), lambda: [StorePath.parse(text) for text in texts]
    )
    key = SecretKey.generate("bench-1")
    path = StorePath(texts[0])
    info = PathInfo(nar_hash=Hash.of(b""), nar_size=1, references=frozenset({path}))
    signature = key.sign(info.fingerprint(path))
    public = key.public()

    def repeat(action: Callable[[], object]) -> Callable[[], None]:
        def many() -> None:
            for _ in range(1000):
                action()

        return many

    rate("sign path infos", "infos", 1000, repeat(lambda: key.sign(info.fingerprint(path))))
    verify = partial(public.verify, info.fingerprint(path), signature)
    rate("verify signatures", "infos", 1000, repeat(verify))


def bench_references() -> None:
    digits = random.Random(1)  # noqa: S311 - a sample, no secret
    candidates = ["".join(digits.choices(ALPHABET, k=32)) for _ in range(5000)]
    streams = {
        "libraries": gather(Path("/usr/lib").rglob("*.so*")),
        "Python sources": gather(Path("/usr/lib").rglob("*.py")),
        "random bytes": os.urandom(SAMPLE),
        "hex digits": os.urandom(SAMPLE // 8).hex().encode(),
        "nothing but base 32": "".join(digits.choices(ALPHABET, k=SAMPLE // 4)).encode(),
        "nothing but mentions": candidates[0].encode() * (SAMPLE // 32 // 4),
    }
    for name, data in streams.items():
        pieces = [data[at : at + (1 << 16)] for at in range(0, len(data), 1 << 16)]

        def scan(pieces: list[bytes] = pieces) -> None:
            scanner = ReferenceScanner(candidates)
            for piece in pieces:
                scanner.feed(piece)

        asked = 400 if name in {"libraries", "Python sources", "random bytes"} else None
        rate(f"scan {name}", "MB", len(data) / 1e6, scan, asked)


def main() -> None:
    """Measure and print."""
    if CORPUS.exists():
        bench_derivations()
    bench_values()
    bench_references()


if __name__ == "__main__":
    main()
