"""The main job: a board's native derivation comes back cross-built, at its native path."""

import gzip
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import world
from tests.live.conftest import Pair
from tests.live.world import Board, Shim, SshDoor

Package = Callable[[str], Pair]
MakeShim = Callable[..., Shim]
MakeBoard = Callable[..., Board]

AARCH64 = "ARM aarch64"


def closure_digests(*paths: str) -> set[bytes]:
    """The hash parts of a closure in the host's store."""
    found = world.run(["nix-store", "--query", "--requisites", *paths]).stdout.split()
    return {Path(path).name[:32].encode() for path in found}


def contents(folder: Path) -> bytes:
    """Every byte below a folder, names and link targets included."""
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(str(path.relative_to(folder)).encode())
        if path.is_symlink():
            parts.append(str(path.readlink()).encode())
        elif path.is_file():
            parts.append(path.read_bytes())
    return b"\0".join(parts)


def assert_works(board: Board, pair: Pair) -> None:
    """The program is the target's, and what it compresses the host's own tool reads back."""
    program = board.physical(pair.out) / "bin" / "pigz"
    assert AARCH64 in world.run(["file", "-L", program]).stdout
    text = b"slow machine, fast machine\n" * 5000
    packed = world.run_in(board.root, [f"{pair.out}/bin/pigz", "-c"], text)
    assert gzip.decompress(packed) == text


def test_an_old_client_gets_its_flat_build_planted(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    pigz = package("pigz")
    # Where the whole shim lives nothing can be emulated, so whatever compiles is x86_64 code.
    shim = make_shim(pigz, within=(sys.executable, "-m", "shim.emulatorless"))
    board = make_board(pigz)
    built = board.build(pigz.asked, shim.builder())
    assert built.stdout.strip() == pigz.out
    assert "pigz-2.8: cross-compiled at its native path" in built.stderr
    assert "gates passed" in built.stderr
    assert_works(board, pigz)
    cross = world.run(["nix-store", "--query", "--requisites", pigz.cross]).stdout.split()
    foreign = {Path(path).name[:32].encode() for path in cross}
    native = closure_digests(*pigz.inputs) | {Path(pigz.out).name[:32].encode()}
    found = contents(board.physical(pigz.out))
    assert [digest for digest in foreign - native if digest in found] == []


def test_a_newer_client_sends_its_graph_over_ssh(
    package: Package, make_shim: MakeShim, make_board: MakeBoard, tmp_path: Path
) -> None:
    pigz = package("pigz")
    shim, board = make_shim(pigz), make_board(pigz, suite="trixie")
    assert board.version() >= "2.26"
    with SshDoor(tmp_path / "ssh", shim) as door:
        built = board.build(pigz.asked, door.builder(), NIX_SSHOPTS=door.options)
    assert built.stdout.strip() == pigz.out
    assert "pigz-2.8: cross-compiled at its native path" in built.stderr
    assert "peer=attic" in shim.log.read_text().replace("\x1b[35m", "").replace("\x1b[0m", "")
    assert_works(board, pigz)


def test_a_second_request_is_answered_from_the_store(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    pigz = package("pigz")
    shim = make_shim(pigz)
    make_board(pigz, name="first").build(pigz.asked, shim.builder())
    again = make_board(pigz, name="second").build(pigz.asked, shim.builder())
    assert again.stdout.strip() == pigz.out
    assert "cross-compiled" not in again.stderr
    assert shim.log.read_text().count("planted") == 1


def test_cross_is_not_used_unless_it_is_asked_for(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    pigz = package("pigz")
    shim = make_shim(pigz, cross=False)
    built = make_board(pigz).build(pigz.asked, shim.builder())
    assert built.stdout.strip() == pigz.out
    assert "built under emulation" in built.stderr


def test_planted_outputs_are_signed_with_the_key_of_their_grade(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    zlib = package("zlib")
    shim = make_shim(zlib)
    make_board(zlib).build(zlib.asked, shim.builder())
    store = f"local?root={shim.serving_root}"
    for path in zlib.outputs.values():
        shown = world.run(["nix", "path-info", "--sigs", "--store", store, path]).stdout
        assert "nix-shim-checked-1:" in shown
        deriver = world.run(["nix-store", "--store", store, "--query", "--deriver", path]).stdout
        assert deriver.strip() == zlib.native


def test_what_runs_its_own_output_falls_back_to_emulation(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    selfmade = package("selfmade")
    shim = make_shim(selfmade)
    built = make_board(selfmade).build(selfmade.asked, shim.builder())
    assert built.stdout.strip() == selfmade.out
    assert "selfmade-1.0: cross failed" in built.stderr
    assert "Exec format error" in built.stderr
    assert "built under emulation" in built.stderr
    again = make_board(selfmade, name="again")
    world.run(["nix-store", "--store", f"local?root={shim.serving_root}", "--delete", selfmade.out])
    told = again.build(selfmade.asked, shim.builder()).stderr
    assert "planting it failed before" in told


@pytest.mark.parametrize(
    ("attribute", "complaint"),
    [
        ("bad.wrongArch", "gate: error elf.machine"),
        ("bad.crossLibc", "gate: error references"),
        ("bad.missingOutput", "not cross: output-missing: .*doc"),
    ],
)
def test_a_poisoned_cross_derivation_reaches_nobody(
    attribute: str,
    complaint: str,
    package: Package,
    make_shim: MakeShim,
    make_board: MakeBoard,
) -> None:
    pair = package(attribute)
    # Their recipes differ visibly, which policy refuses by default: the gates are the second wall.
    shim, board = make_shim(pair, worst="semantic"), make_board(pair)
    built = board.build(pair.asked, shim.builder())
    assert re.search(complaint, built.stderr), built.stderr
    assert "built under emulation" in built.stderr
    assert set(built.stdout.split()) <= set(pair.outputs.values())
    store = f"local?root={shim.serving_root}"
    for path in pair.outputs.values():
        shown = world.run(["nix", "path-info", "--sigs", "--store", store, path]).stdout
        assert "checked" not in shown


def test_recipes_that_differ_in_what_they_make_are_not_planted(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    pair = package("bad.wrongArch")
    shim, board = make_shim(pair), make_board(pair)
    told = board.build(pair.asked, shim.builder()).stderr
    assert "not cross: the recipes differ: semantic (buildPhase:" in told
    assert "built under emulation" in told
