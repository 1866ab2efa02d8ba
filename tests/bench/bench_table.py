"""How fast graphs are paired, and how fast and small a large table is.

Run as `python -m tests.bench.bench_table`.  Pairing uses the real graphs of `../shared/corpus`,
without which that part is left out; processor time counts, so that other work on the machine does
not.  The large table is made up: 100,000 entries with two outputs on either side, a dozen paired
inputs and three differences each, which is more than the mean of the real ones.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from protocol.store.base32 import ALPHABET
from protocol.store.path import StorePath
from shim.equivalence import file
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Difference, Entry, InputPair, Table
from tests.support.shared import SHARED

CORPUS = SHARED / "corpus/aarch64-linux"
ENTRIES = 100_000
LOOKUPS = 20_000
ROUNDS = 5


def bench_pairing() -> None:
    pairs = json.loads((CORPUS / "truth.json").read_text())["pairs"].values()
    roots = [(StorePath(one["native"]), StorePath(one["cross"])) for one in pairs]
    rates = []
    for _ in range(ROUNDS):
        derivations = Derivations.open(CORPUS / "drvs.tar.zst")
        begin = time.process_time()
        table = pair(derivations, roots)
        rates.append(count(roots, derivations) / (time.process_time() - begin))
    rate = sorted(rates)[ROUNDS // 2]
    print(f"parse, check and pair{rate:>30,.0f} derivations/s of one core   asked 2,000")
    print(f"  entries made {len(table)}, conflicts {len(list(table.conflicts()))}")


def count(roots: list[tuple[StorePath, StorePath]], derivations: Derivations) -> int:
    """How many derivations the graphs have."""
    seen: set[StorePath] = set()
    stack = [path for root in roots for path in root]
    while stack:
        if (path := stack.pop()) not in seen:
            seen.add(path)
            stack += derivations[path].input_derivations
    return len(seen)


def entries(number: int) -> Iterator[Entry]:
    source = random.Random(1)  # noqa: S311 - the same table each time

    def path(name: str) -> StorePath:
        return StorePath(f"/nix/store/{''.join(source.choices(ALPHABET, k=32))}-{name}")

    made: list[tuple[StorePath, StorePath]] = []
    for i in range(number):
        name, cross_name = (
            f"package{i}-1.{i % 10}",
            f"package{i}-riscv64-unknown-linux-gnu-1.{i % 10}",
        )
        natives = {"out": path(name), "dev": path(f"{name}-dev")}
        crosses = {"out": path(cross_name), "dev": path(f"{cross_name}-dev")}
        known = source.sample(made[-2000:], min(len(made), 12))
        made.append((natives["dev"], crosses["dev"]))
        yield Entry(
            native=path(f"{name}.drv"),
            cross=path(f"{cross_name}.drv"),
            native_outputs=natives,
            cross_outputs=crosses,
            role=Role.HOST,
            difference_class=DifferenceClass.BENIGN,
            grade=Grade.CHECKED,
            reason=f"same name and place in `buildInputs` of `package{i // 3}-1.0`",
            pairing={"out": "out", "dev": "dev"},
            inputs=tuple(
                InputPair("buildInputs", one, two, Role.HOST, "same name and place")
                for one, two in known
            ),
            differences=tuple(
                Difference(rule, subject, "", f"--with-{rule}=package{i}", DifferenceClass.BENIGN)
                for rule, subject in (("platform", "configureFlags"), ("checks off", "doCheck"))
            ),
        )


LOAD = """
import sys, time
from pathlib import Path
from shim.equivalence import file

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])

before = peak()
begin = time.perf_counter()
table = file.load(Path(sys.argv[1]))
took = time.perf_counter() - begin
paths = [table.rows[i * 7919 % len(table)].native for i in range(int(sys.argv[2]))]
begin = time.process_time()
for path in paths:
    assert table.host_entry(path) is not None
each = (time.process_time() - begin) / len(paths)
begin = time.process_time()
for path in paths:
    table.rows[table.rows.find(path)[0]]
row = (time.process_time() - begin) / len(paths)
print(took, each, row, peak() / 1024, before / 1024)
"""


def bench_file() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        begin = time.perf_counter()
        file.save(Table.of(entries(ENTRIES)), path)
        print(f"make and write {ENTRIES:,} entries {time.perf_counter() - begin:>17.1f} s")
        size = path.stat().st_size / 1e6
        print(f"size on disk{size:>35.1f} MB   asked 60")
        runs = []
        for _ in range(ROUNDS):
            out = subprocess.run(
                [sys.executable, "-c", LOAD, str(path), str(LOOKUPS)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            runs.append([float(word) for word in out.split()])
    took, each, row, peak, before = (
        sorted(column)[ROUNDS // 2] for column in zip(*runs, strict=True)
    )
    print(f"load{took:>45.3f} s    asked 0.5")
    print(f"look up a row{row * 1e6:>35.1f} us   asked 20")
    print(f"look up the one host entry{each * 1e6:>22.1f} us   asked 20")
    print(f"memory of the process{peak:>27.1f} MB   asked 150, of which {before:.1f} before")


def main() -> None:
    """Print everything."""
    if CORPUS.exists():
        bench_pairing()
    bench_file()


if __name__ == "__main__":
    main()
