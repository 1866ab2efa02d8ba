"""Throws damaged files at every parser of the gates.

Run as `python -m tests.fuzz.fuzz_gates [SECONDS] [SEED] [FILES...]`.  Samples of every format (ELF,
archives, compressed streams, scripts, nested ones too), and the given files, are mutated and looked
at by all gates as a file's contents would be, in memory.  An exception that the judgement would
have to catch, or a look that takes more than a second of the processor for a few kilobytes, ends
the run with the input in a file.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shim.gates.blob import Blob
from shim.gates.closure import Closure
from shim.gates.contents import OpaqueError, inside
from shim.gates.gate import Gate, Item, Report
from shim.gates.judgement import GATES
from shim.gates.settings import LimitError, Limits, Settings
from shim.gates.subject import Subject
from shim.gates.tree import Entry, Kind
from shim.gates.unpack import Budget, DamagedError
from shim.systems import SYSTEMS
from tests.support.elf import ET_REL, ElfSpec, SectionSpec, arm_attributes
from tests.support.packed import COMPRESSED, STORED
from tests.support.planted import BASH, BUILD_BASH, GLIBC, GOOD_PROGRAM, OUT

LIMITS: Final = Limits(
    depth=4, member=1 << 20, total=1 << 22, ratio=50, free=1 << 16, entries=1000, memory=1 << 14
)
PATIENCE: Final = 1.0
"""Seconds of the processor for one input."""

_ENTRY: Final = Entry("out", "bin/x-config", Kind.FILE, 0o555, 0, "", "/nonexistent")


def samples() -> list[bytes]:
    """One well-formed file of every kind, and each kind in a few others."""
    plain = [
        GOOD_PROGRAM,
        ElfSpec(type=ET_REL, endianness="big", bits=32).build(),
        ElfSpec(
            machine=40,
            bits=32,
            flags=0x05000400,
            soname="libx.so.1",
            defines=("libx.so.1", "X_1", "X_2"),
            needs=[("libc.so.6", "GLIBC_2.17", False), ("libc.so.6", "GLIBC_2.4", True)],
            needed=["libc.so.6"],
            rpath="$ORIGIN:/build/x:/usr/lib:",
            sections=[arm_attributes(tag6=10, tag23=3, tag28=1)],
        ).build(),
        ElfSpec(sections=[SectionSpec(".zdebug_x", b"ZLIB" + bytes(20))]).build(),
        f"#!{BUILD_BASH}/bin/bash -e\ncd /build/x/y\n".encode(),
        f"#!/usr/bin/env -S {BASH}/bin/bash\n".encode("utf-16-le"),
    ]
    forms = [*COMPRESSED.values(), *STORED.values()]
    once = [form(data) for form in forms for data in plain[:3]]
    twice = [form(data) for form in forms[:6] for data in once[::7]]
    return plain + once + twice


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few changes: bits, interesting numbers, cuts, doubled and exchanged pieces."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        if not result:
            break
        place = chance.randrange(len(result))
        end = min(len(result), place + chance.choice((1, 2, 4, 8, 16, 64)))
        match chance.randrange(7):
            case 0:
                result[place] ^= 1 << chance.randrange(8)
            case 1:
                result[place:end] = chance.choice((b"\xff", b"\0", b"\x7f"))[:1] * (end - place)
            case 2:
                number = chance.choice((0, 1, 0x7FFF, 0xFFFF, 1 << 31, (1 << 32) - 1, len(data)))
                result[place:end] = number.to_bytes(8, "little")[: end - place]
            case 3:
                del result[place:end]
            case 4:
                result[place:place] = result[place:end] * chance.randint(1, 4)
            case 5:
                del result[chance.randrange(len(result)) :]
            case _:
                other = chance.randrange(len(result))
                result[place:end] = result[other : other + end - place]
    return bytes(result)


def looker(system: str) -> Callable[[bytes], None]:
    """Something that looks at contents as the judgement does, but catches nothing unforeseen."""
    subject = Subject(
        name="demo-1.0",
        system=SYSTEMS[system],
        outputs={"out": OUT},
        root=Path("/nonexistent"),
        allowed=frozenset({OUT, GLIBC, BASH}),
        forbidden={BUILD_BASH.digest: "it runs on the build machine"},
    )
    settings = Settings(limits=LIMITS)

    def look(data: bytes) -> None:
        report = Report(subject, settings)
        closure = Closure(subject, LIMITS)
        gates = [kind(subject, closure, report) for kind in GATES]
        _look(Item(_ENTRY, Blob(data), _ENTRY.path, executable=True), gates, Budget(LIMITS))
        for gate in gates:
            gate.end()
        report.verdict()

    return look


def _look(item: Item, gates: list[Gate], budget: Budget) -> None:
    for gate in gates:
        gate.content(item)
    try:
        for inner in inside(item, budget):
            _look(inner, gates, budget)
    except (DamagedError, LimitError, OpaqueError):
        pass


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)  # noqa: S311 - to be repeatable, no secret
    known = samples() + [Path(name).read_bytes() for name in sys.argv[3:]]
    lookers = [looker(system) for system in ("aarch64-linux", "armv7l-linux", "riscv64-linux")]
    count, slowest = 0, 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(chance.choice(known), chance)
        begin = time.process_time()
        try:
            chance.choice(lookers)(data)
            taken = time.process_time() - begin
            assert taken < PATIENCE, f"took {taken:.1f} s"
        except Exception:
            path = Path(f"fuzz-gates-{seed}-{count}.bin")
            path.write_bytes(data)
            print(f"seed {seed}, input {count}, written to {path}")
            raise
        slowest = max(slowest, taken)
        count += 1
    print(f"seed {seed}: {count} inputs, none escaped; slowest {slowest * 1000:.0f} ms")


if __name__ == "__main__":
    main()
