"""Gates over what real compilers made: bad packages are caught, each by its gate; good ones pass.

A plain cross build is judged as a planted result would be: the cross set's own libraries stand for
the native ones, and everything of the build machine is forbidden.  Few packages are really planted.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from protocol.store.path import StorePath
from shim.gates import judge
from shim.gates.subject import Subject
from shim.gates.verdict import Severity, Verdict
from shim.systems import SYSTEMS
from tests.live import world
from tests.live.conftest import Pair
from tests.live.world import Board, Shim

SETS: Final = {
    "aarch64-multiplatform": "aarch64-linux",
    "armv7l-hf-multiplatform": "armv7l-linux",
    "riscv64": "riscv64-linux",
}
AARCH64, ARMV7L, RISCV64 = SETS

OTHERS: Final = {"armv7l-linux": "armhf", "riscv64-linux": "riscv64"}
"""Boards whose native sets only `scripts/fetch-minipkgs --all` brings -> Debian's name for them."""

BASE: Final = ("glibc", "glibc.dev", "libgcc", "gcc-unwrapped.lib", "bash")
"""What every native result may refer to: a native derivation's inputs reach all of it."""

GOOD: Final[Mapping[str, tuple[str, ...]]] = {
    "zlib": (),
    "pigz": ("zlib",),
    "lz4": (),
    "words": (),
    "wrapped": (),
    "launched": (),
    "stamped": (),
    "answer": (),
    "asker": ("answer", "answer.dev"),
    "tabled": (),
    "base1": (),
    "middle": ("base1", "base1.dev"),
    "top": ("middle", "middle.dev"),
    "tower": ("top", "top.dev"),
    "greeter": (),
    "notes": ("greeter", "words"),
    "fixed": (),
    "toolbox": ("greeter", "words", "stamped", "notes", "fixed"),
}
"""Package -> those of the set that its result may refer to."""

MORE_GOOD: Final = ("debugged", "guarded", "joined", "late", "needing")
"""Those that only a plant makes right, or whose inputs are too many to be listed."""

BAD: Final = {
    "leakPlain": {"references.forbidden"},
    "leakGzip": {"references.forbidden"},
    "leakDebug": {"references.forbidden"},
    "foreignObject": {"elf.machine"},
    "crossRunpath": {"loading.runpath-cross"},
    "needsNobody": {"loading.needed"},
    "tooNew": {"loading.version"},
    "missingShebang": {"scripts.missing"},
    "buildFolder": {"leaks.build-folder"},
    "emptyOutput": {"outputs.empty"},
    # Each is two things at once.
    "kernel": {"references.forbidden", "elf.machine"},
    "foreignShebang": {"references.forbidden", "scripts.not-allowed"},
    "wrongArch": {"references.forbidden", "elf.machine"},
}
"""Rejected package -> the rules that it breaks, all of them."""

ODD: Final = {
    "toolPrefix": {"leaks.tool-prefix"},
    "buildTriple": {"leaks.build-triple"},
    "emptyPage": {"shape.empty"},
    "dangling": {"shape.dangling"},
    "opaque": {"contents.opaque"},
}
"""Package that is told of and imported -> the warnings."""


@cache
def build(attribute: str) -> frozenset[StorePath]:
    """Every output of a package, built by plain Nix."""
    drv = world.derivation(attribute)
    return frozenset(StorePath(path) for path in world.realise(drv))


def requisites(*paths: str, outputs: bool = False) -> frozenset[StorePath]:
    more = ["--include-outputs"] if outputs else []
    done = world.run(["nix-store", "--query", "--requisites", *more, *paths])
    return frozenset(StorePath(path) for path in done.stdout.split())


def one(attribute: str) -> StorePath:
    done = world.run(["nix-build", world.MINIPKGS, "-A", attribute, "--no-out-link"])
    return StorePath(done.stdout.strip())


@cache
def closure(cross: str, attribute: str) -> frozenset[StorePath]:
    return requisites(one(f"pkgsCross.{cross}.{attribute}"))


def subject(attribute: str, inputs: Iterable[str] = (), cross: str = AARCH64) -> Subject:
    """A plain cross build as if it were planted."""
    drv = world.derivation(f"pkgsCross.{cross}.{attribute}")
    build(f"pkgsCross.{cross}.{attribute}")
    outputs = {name: StorePath(path) for name, path in world.outputs(drv).items()}
    allowed = frozenset().union(*(closure(cross, each) for each in (*BASE, *inputs)))
    own = frozenset(outputs.values())
    beneath = requisites(drv, outputs=True)
    return Subject(
        name=StorePath(drv).name.removesuffix(".drv"),
        system=SYSTEMS[SETS[cross]],
        outputs=outputs,
        root=Path("/"),
        allowed=allowed | own,
        forbidden={path.digest: "the build platform" for path in beneath - allowed - own},
        built=outputs,
    )


def need(system: str) -> None:
    """Skip where the native set of another board cannot be built."""
    if lack := world.lacks_native(OTHERS[system]):
        pytest.skip(lack)


def native(attribute: str, system: str = "aarch64-linux") -> Subject:
    """A native build; only what its own inputs reach is allowed."""
    drv = world.derivation(f"pkgsFor.{system}.{attribute}")
    build(f"pkgsFor.{system}.{attribute}")
    outputs = {name: StorePath(path) for name, path in world.outputs(drv).items()}
    return Subject(
        name=StorePath(drv).name.removesuffix(".drv"),
        system=SYSTEMS[system],
        outputs=outputs,
        root=Path("/"),
        allowed=requisites(*world.inputs(drv)) | frozenset(outputs.values()),
        built=outputs,
    )


def told(verdict: Verdict, least: Severity = Severity.WARNING) -> set[str]:
    return {found.rule for found in verdict.findings if found.severity >= least}


@pytest.mark.parametrize("name", GOOD)
def test_good_packages_pass_with_notes_at_most(name: str) -> None:
    verdict = judge(subject(name, GOOD[name]))
    assert verdict.accepted
    assert told(verdict) == set(), verdict.findings
    assert verdict.files


@pytest.mark.long
@pytest.mark.parametrize("name", sorted({*GOOD, *MORE_GOOD}))
def test_good_packages_built_natively_pass_too(name: str) -> None:
    verdict = judge(native(name))
    assert verdict.accepted
    assert told(verdict) == set(), verdict.findings


@pytest.mark.parametrize("name", ["pigz", "words"])
@pytest.mark.parametrize("cross", [ARMV7L, RISCV64])
def test_good_packages_of_other_boards_pass_too(name: str, cross: str) -> None:
    verdict = judge(subject(name, GOOD[name], cross))
    assert verdict.accepted
    assert told(verdict) == set(), verdict.findings


@pytest.mark.parametrize("name", BAD)
def test_a_bad_package_is_caught_by_the_gate_meant_for_it(name: str) -> None:
    verdict = judge(subject(f"bad.{name}"))
    assert not verdict.accepted
    assert told(verdict) == BAD[name], verdict.findings


@pytest.mark.parametrize("name", ODD)
def test_an_odd_package_is_told_of(name: str) -> None:
    verdict = judge(subject(f"bad.{name}"))
    assert verdict.accepted, verdict.findings
    assert told(verdict) == ODD[name], verdict.findings


@pytest.mark.long
@pytest.mark.parametrize("name", sorted({*BAD, *ODD} - {"opaque"}))
def test_the_same_package_is_good_when_it_is_built_natively(name: str) -> None:
    verdict = judge(native(f"bad.{name}"))
    assert verdict.accepted
    assert told(verdict) == set(), verdict.findings


TOOLCHAIN: Final = (
    *("bash", "busybox", "gnumake", "patchelf", "binutils-unwrapped", "gcc-unwrapped"),
    *("bintools", "gcc", "stdenv"),
)
"""What Debian built natively, as files of a native set.  Its libc.so.6 asks for /lib's loader."""


@pytest.mark.parametrize("name", TOOLCHAIN)
def test_what_debian_built_natively_passes(name: str) -> None:
    verdict = judge(native(name))
    assert told(verdict) == set(), verdict.findings


@pytest.mark.long
@pytest.mark.parametrize("name", TOOLCHAIN)
@pytest.mark.parametrize("system", OTHERS)
def test_what_debian_built_for_other_boards_passes(name: str, system: str) -> None:
    need(system)
    verdict = judge(native(name, system))
    assert told(verdict) == set(), verdict.findings


def test_floats_in_the_wrong_registers_are_caught_on_armv7l() -> None:
    verdict = judge(subject("bad.softFloat", cross=ARMV7L))
    assert not verdict.accepted
    assert told(verdict) == {"elf.float-abi"}
    assert [found.path for found in verdict.findings] == ["out/lib/libbad.a!small.o"]


def test_unpatched_scripts_are_counted() -> None:
    verdict = judge(subject("bad.unpatchedShebang"))
    assert verdict.accepted
    assert told(verdict, Severity.NOTE) == {"scripts.unpatched"}


def test_an_output_that_is_missing_is_caught() -> None:
    given = subject("bad.missingOutput")
    doc = StorePath(f"{given.outputs['out']}-doc")
    verdict = judge(replace(given, outputs={**given.outputs, "doc": doc}))
    assert not verdict.accepted
    assert told(verdict) == {"outputs.missing"}


def test_an_output_that_nobody_asked_for_is_caught() -> None:
    given = subject("bad.extraOutput")
    verdict = judge(replace(given, outputs={"out": given.outputs["out"]}))
    assert not verdict.accepted
    assert told(verdict) == {"outputs.extra"}


def test_the_compiler_s_own_libc_is_caught_where_no_recipe_shows_it() -> None:
    # In a plain cross build its libc is the host's, as the native one is in a plant.
    given = subject("bad.crossLibc")
    libc = one(f"{world.CROSS}.glibc")
    allowed, forbidden = given.allowed - {libc}, {**given.forbidden, libc.digest: "the cross set"}
    verdict = judge(replace(given, allowed=allowed, forbidden=forbidden))
    assert "out/libc" in {
        found.path for found in verdict.findings if found.rule == "references.forbidden"
    }


def test_the_packed_leaks_are_nowhere_in_plain_sight() -> None:
    make = one("pkgsx86.gnumake").digest.encode()
    for name in ("leakGzip", "leakDebug"):
        found = judge(subject(f"bad.{name}")).findings[0]
        assert make.decode() in found.message
        folder = one(f"{world.CROSS}.bad.{name}")
        data = b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())
        assert make not in data


# ---- planted -------------------------------------------------------------------------------------


def shown(shim: Shim, path: str) -> list[dict[str, Any]]:
    """What `nix-shim show` knows of a path."""
    done = world.run([world.SHIM, "show", "--state", shim.base / "state", "--json", path])
    records: list[dict[str, Any]] = json.loads(done.stdout)
    return records


def signatures(store: str, path: str) -> list[str]:
    """Names of the keys that signed a path, as `nix path-info --sigs` shows them."""
    told = world.run(["nix", "path-info", "--sigs", "--store", store, path]).stdout
    return [word.partition(":")[0] for word in told.split()[1:] if ":" in word]


def test_a_build_tool_in_a_shebang_is_repaired_and_signed_as_that(
    package: Callable[..., Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    pair = package("bad.foreignShebang")
    shim, board = make_shim(pair), make_board(pair)
    told = board.build(pair.asked, shim.builder()).stderr
    assert "cross-compiled at its native path" in told
    assert "grade repaired" in told
    script = board.physical(pair.out) / "bin" / "bad"
    shell = one("pkgs.bash")
    assert script.read_text() == f"#!{shell}/bin/bash\n"
    store = f"local?root={shim.serving_root}"
    assert signatures(store, pair.out) == ["nix-shim-repaired-1"]
    assert signatures(board.store, pair.out) == ["nix-shim-repaired-1"]
    refers = world.run(["nix-store", "--store", store, "--query", "--references", pair.out])
    assert refers.stdout.split() == [shell]
    world.run(["nix-store", "--store", store, "--verify-path", pair.out])
    (record,) = shown(shim, pair.out)
    assert (record["strategy"], record["outcome"], record["grade"]) == ("cross", "ok", "repaired")
    assert [found["rule"] for found in record["findings"]] == ["repair.reference"]
    assert not list(shim.plant_root.glob("repair-*"))
    # Later plants must not find the form that was not repaired.
    plant = f"local?root={shim.plant_root}"
    left = world.run(["nix-store", "--store", plant, "--check-validity", pair.out], check=False)
    assert left.returncode != 0


def test_what_no_repair_may_touch_falls_back_and_is_remembered(
    package: Callable[..., Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    pair = package("bad.leakGzip")
    shim, board = make_shim(pair), make_board(pair)
    told = board.build(pair.asked, shim.builder()).stderr
    assert "gate: error references.forbidden out/share/make.gz!" in told
    assert "built under emulation" in told
    assert signatures(board.store, pair.out) == ["nix-shim-emulated-1"]
    rejected, emulated = shown(shim, pair.out)
    assert rejected["verdict"].startswith("gates rejected it")
    assert [found["rule"] for found in rejected["findings"]] == ["references.forbidden"]
    facts = emulated["strategy"], emulated["outcome"], emulated["grade"]
    assert facts == ("emulate", "ok", "emulated")
    assert shown(shim, pair.native) == [rejected, emulated]


def test_a_kernel_s_helpers_are_told_of_and_repaired_of_their_references(
    package: Callable[..., Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    pair = package("bad.kernel")
    shim, board = make_shim(pair, worst="semantic"), make_board(pair)
    told = board.build(pair.asked, shim.builder()).stderr
    assert "grade repaired" in told
    (record,) = shown(shim, pair.out)
    helper = "dev/lib/modules/6.0/build/scripts/mod/modpost"
    assert {(found["rule"], found["path"]) for found in record["findings"]} == {
        ("elf.machine", helper),
        ("repair.reference", helper),
    }


@pytest.mark.long
def test_nothing_above_a_note_is_found_in_any_plant(
    package: Callable[..., Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    pairs = [package(name) for name in sorted({*GOOD, *MORE_GOOD})]
    shim, board = make_shim(*pairs), make_board()
    for pair in pairs:
        board.receive(pair.inputs)
        board.build(pair.asked, shim.builder())
    events = [line for line in shim.log.read_text().splitlines() if "gate" in line]
    assert [line for line in events if "gate-finding" in line and "severity=note" not in line] == []
    judged = [line for line in events if "gates-judged" in line]
    assert len(judged) > len(pairs) / 2
    assert all("accepted=True" in line for line in judged)


CRASH: Final = """\
import runpy, sys
from shim.gates.leaks import Leaks

def fail(self, item):
    raise ZeroDivisionError("as a test wants it")

Leaks.content = fail
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program of ours with a gate that fails by itself."""


def test_a_gate_that_crashes_is_reported_and_the_build_falls_back(
    package: Callable[..., Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    pair = package("greeter")
    shim = make_shim(pair, within=(sys.executable, "-c", CRASH))
    board = make_board(pair)
    told = board.build(pair.asked, shim.builder()).stderr
    assert "gate: error gate.crashed" in told
    assert "leaks: ZeroDivisionError: as a test wants it" in told
    assert "built under emulation" in told
    rejected, _ = shown(shim, pair.out)
    assert {found["rule"] for found in rejected["findings"]} == {"gate.crashed"}
    assert all("report it" in found["advice"] for found in rejected["findings"])


@pytest.mark.long
@pytest.mark.parametrize("system", OTHERS)
def test_other_boards_get_planted_programs_that_run(
    system: str,
    package: Callable[..., Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    need(system)
    pair = package("words", system)
    shim, board = make_shim(pair, systems=(system,)), make_board(pair)
    told = board.build(pair.asked, shim.builder()).stderr
    assert "cross-compiled at its native path" in told
    said = world.run_in(board.root, [f"{pair.out}/bin/words", "b", "a", "b"])
    assert said == b"1 a\n2 b\n"
    assert signatures(board.store, pair.out) == ["nix-shim-checked-1"]


@pytest.mark.long
def test_floats_in_the_wrong_registers_never_reach_an_armv7l_board(
    package: Callable[..., Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    need("armv7l-linux")
    pair = package("bad.softFloat", "armv7l-linux")
    shim = make_shim(pair, systems=("armv7l-linux",), worst="semantic")
    board = make_board(pair)
    told = board.build(pair.asked, shim.builder()).stderr
    assert "gate: error elf.float-abi out/lib/libbad.a!small.o" in told
    assert "built under emulation" in told
    assert signatures(board.store, pair.out) == ["nix-shim-emulated-1"]
    given = native("bad.softFloat", "armv7l-linux")
    verdict = judge(replace(given, root=board.root))
    assert verdict.accepted, verdict.findings
