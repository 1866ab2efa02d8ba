"""armv7l and riscv64 through the shim: planted for boards that have a native toolchain."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from elftools.elf.elffile import ELFFile

from protocol.store.path import StorePath
from shim.equivalence import file
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from tests.live import world
from tests.live.world import Board, Shim

pytestmark = pytest.mark.long

ASKED: Final = {
    "pigz": (["bin/pigz", "--version"], b"pigz 2.8\n"),
    "tower": (["bin/tower"], b"1 2 3\n"),
    "words": (["bin/words", "b", "a", "b"], b"1 a\n2 b\n"),
    "wrapped": (["bin/wrapped"], b"hello\n"),
}
"""Package -> a program of it with arguments, and what that prints."""


@dataclass(frozen=True)
class Target:
    """What is particular to a system."""

    system: str
    debian: str
    machine: str
    floats: int
    """Bits of `e_flags` that tell how floating-point numbers are handed over."""

    def __str__(self) -> str:
        return self.system


TARGETS: Final = (
    Target("armv7l-linux", "armhf", "EM_ARM", 0x400),  # EF_ARM_ABI_FLOAT_HARD, AAELF32
    Target("riscv64-linux", "riscv64", "EM_RISCV", 0x4),  # EF_RISCV_FLOAT_ABI_DOUBLE, psABI
)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_packages_of_every_kind_are_planted(
    target: Target, tmp_path: Path, plant_root: Path
) -> None:
    lack = world.lacks_native(target.debian)
    if lack is not None:
        pytest.skip(lack)
    ours, theirs = f"pkgsFor.{target.system}", world.CROSS_SETS[target.system]
    natives = {name: world.derivation(f"{ours}.{name}") for name in ASKED}
    crosses = {name: world.derivation(f"{theirs}.{name}") for name in ASKED}
    world.build_tools(crosses["words"])
    roots = [(StorePath(natives[name]), StorePath(crosses[name])) for name in ASKED]
    table = tmp_path / "table"
    file.save(pair(Derivations.open(Path("/")), roots), table)
    board = Board(tmp_path / "board")
    board.receive(world.inputs(world.derivation(f"{ours}.base1")))
    # Sources are unpacked by what is older than any compiler.
    board.receive(world.realise(world.derivation(f"{ours}.bootstrapTools")))
    asked = [word for name in ASKED for word in ("-A", f"{ours}.{name}")]
    with Shim(
        tmp_path / "shim",
        tables=[table],
        systems=(target.system,),
        plant=plant_root,
    ) as shim:
        done = board.nix(
            *("nix-build", world.MINIPKGS, "--no-out-link", "--store", board.store),
            *("--max-jobs", "0", "--builders", shim.builder(), *asked),
        )

    for name, (command, said) in ASKED.items():
        out = world.outputs(natives[name])["out"]
        assert (
            f"{Path(out).name.partition('-')[2]}: cross-compiled at its native path" in done.stderr
        )
        assert world.run_in(board.root, [f"{out}/{command[0]}", *command[1:]]) == said
    for name in ("pigz", "words"):
        program = board.physical(world.outputs(natives[name])["out"]) / "bin" / name
        with program.open("rb") as opened:
            elf = ELFFile(opened)
            assert elf["e_machine"] == target.machine
            assert elf["e_flags"] & target.floats == target.floats
