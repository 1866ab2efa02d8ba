"""How fast the gates are, on a mix of files like that of a real system closure.

Run as `python -m tests.bench.bench_gates [MEGABYTES]`.  The mix is taken from this machine's
`/usr`: programs, libraries, headers, sources, documentation, jars and compressed manual pages in
the proportions in which they are installed, plus a static library, a kernel-module-like xz file and
a gzipped tar archive for each 100 MB.  They are copied into a store in a temporary directory, read
once so that the disk does not count, and judged with 5,000 forbidden digests.  Printed are the
median and the range of the runs; bytes are uncompressed bytes looked at.  On a busy machine the
processor's own time tells more than the clock.
"""

import gzip
import hashlib
import lzma
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from protocol.store.base32 import encode
from protocol.store.path import StorePath
from shim.gates import judge
from shim.gates.subject import Subject
from shim.gates.verdict import Verdict
from shim.systems import SYSTEMS
from tests.support.packed import ar, tar

RUNS = 5
CANDIDATES = 5000
OUT = StorePath.parse(f"/nix/store/{'0' * 32}-system-1.0")


def digests(count: int) -> dict[str, str]:
    return {
        encode(hashlib.sha256(str(number).encode()).digest()[:20]): "it is of the cross set"
        for number in range(count)
    }


def installed(megabytes: int) -> list[Path]:
    """A fair sample of the files under `/usr`, always the same for one machine and size."""
    files = [
        path for path in sorted(Path("/usr").rglob("*")) if path.is_file() and not path.is_symlink()
    ]
    random.Random(0).shuffle(files)  # noqa: S311 - a sample, no secret
    chosen, size = [], 0
    for path in files:
        if size > megabytes << 20:
            break
        chosen.append(path)
        size += path.stat().st_size
    return chosen


def prepare(root: Path, megabytes: int) -> None:
    top = root / OUT.lstrip("/")
    for path in installed(megabytes):
        target = top / path.relative_to("/usr")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o555 if path.stat().st_mode & 0o111 else 0o444)
    objects = [path.read_bytes() for path in top.rglob("*.so*") if path.stat().st_size < 1 << 20]
    for number in range(max(1, megabytes // 100)):
        some = {f"{index}.o": data for index, data in enumerate(objects[number::7][:20])}
        (top / f"lib/static{number}.a").write_bytes(ar(some))
        (top / f"lib/module{number}.ko.xz").write_bytes(lzma.compress(next(iter(some.values()))))
        (top / f"share/source{number}.tar.gz").write_bytes(gzip.compress(tar(some), 6))


def run(subject: Subject) -> tuple[float, float, Verdict]:
    """Seconds by the clock and by the processor, and the verdict."""
    begin, used = time.perf_counter(), time.process_time()
    verdict = judge(subject)
    return time.perf_counter() - begin, time.process_time() - used, verdict


def rates(examined: int, seconds: list[float]) -> str:
    found = sorted(examined / one / 1e6 for one in seconds)
    return f"{statistics.median(found):.0f} MB/s ({found[0]:.0f} to {found[-1]:.0f})"


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root, megabytes)
        subject = Subject(
            name="system-1.0",
            system=SYSTEMS["x86_64-linux"],
            build_system=SYSTEMS["aarch64-linux"],
            outputs={"out": OUT},
            root=root,
            allowed=frozenset({OUT}),
            forbidden=digests(CANDIDATES),
        )
        run(subject)
        taken = [run(subject) for _ in range(RUNS)]
        verdict = taken[0][2]
        print(f"{verdict.files} files, {verdict.examined / 1e6:.0f} MB uncompressed")
        print("by the clock:", rates(verdict.examined, [clock for clock, _, _ in taken]))
        print("by the processor:", rates(verdict.examined, [used for _, used, _ in taken]))
        counts = Counter(found.rule for found in verdict.findings)
        print(", ".join(f"{rule} {count}" for rule, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
