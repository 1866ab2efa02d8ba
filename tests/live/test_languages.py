"""Other compilers and another C library than the usual ones, planted for real."""

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


@dataclass(frozen=True)
class Language:
    """A package of minipkgs, and what its program does with some input."""

    name: str
    arguments: tuple[str, ...]
    given: bytes
    said: bytes

    def __str__(self) -> str:
        return self.name


LANGUAGES: Final = (
    Language("gopher", (), b"", b"linux arm64\n"),
    Language("clanged", ("x",), b"", b"clang\nglibc\nx\n"),
    Language("musled", ("x",), b"", b"gcc\nmusl\nx\n"),
    Language("summed", (), b"1\n2\n3.5\n", b"6.50\n"),
)


@pytest.mark.parametrize("language", LANGUAGES, ids=str)
def test_it_is_planted_and_runs(language: Language, tmp_path: Path, plant_root: Path) -> None:
    check(language, tmp_path, plant_root)


def test_a_default_that_bootstrap_compilers_lack_is_taken_back(
    tmp_path: Path, plant_root: Path
) -> None:
    language = Language("positioned", ("x",), b"", b"gcc\nglibc\nx\n")
    program = check(language, tmp_path, plant_root)
    # The cross compiler by itself makes it position-independent.
    cross = world.realise(world.derivation(f"{world.CROSS}.positioned"))[0]
    assert elf_type(Path(cross, "bin/positioned")) == "ET_DYN"
    assert elf_type(program) == "ET_EXEC"


def check(language: Language, tmp_path: Path, plant_root: Path) -> Path:
    """Ask for it with nothing to fall back on, run it, and give its program."""
    if not any((world.CACHE / "minipkgs" / "files").glob("clang-19_*_arm64.deb")):
        pytest.skip("other compilers are not downloaded: scripts/fetch-minipkgs --all")
    native = world.derivation(f"pkgs.{language.name}")
    cross = world.derivation(f"{world.CROSS}.{language.name}")
    world.build_tools(cross)
    table = tmp_path / "table"
    file.save(pair(Derivations.open(Path("/")), [(StorePath(native), StorePath(cross))]), table)
    board = Board(tmp_path / "board")
    board.receive(world.inputs(native))

    with Shim(tmp_path / "shim", tables=[table], emulate=False, plant=plant_root) as shim:
        done = board.build(f"pkgs.{language.name}", shim.builder())

    assert f"{language.name}-1.0: cross-compiled at its native path" in done.stderr
    program = f"{world.outputs(native)['out']}/bin/{language.name}"
    assert world.run_in(board.root, [program, *language.arguments], language.given) == language.said
    return board.physical(program)


def elf_type(program: Path) -> str:
    with program.open("rb") as opened:
        return str(ELFFile(opened)["e_type"])
