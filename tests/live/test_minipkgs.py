"""The package set by itself, without the shim: what its packages do, native and cross-compiled."""

import filecmp
import os
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest
from elftools.elf.elffile import ELFFile

from protocol.store.path import StorePath
from tests.live import world

SAYS: Final = {
    "tower": ("bin/tower", "", "1 2 3"),
    "wrapped": ("bin/wrapped", "", "hello"),
    "launched": ("libexec/launched-launcher", "", "launched"),
    "stamped": ("bin/stamped", "", "stamped"),
    "asker": ("bin/asker", "", "42"),
    "tabled": ("bin/tabled", "", "3375"),
    "selfmade": ("bin/selfmade", "9", "81"),
    "debugged": ("bin/debugged", "", "{length} {program}"),
    "greeter": ("bin/greeter", "", "hello"),
    "words": ("bin/words", "b a b", "1 a\n2 b"),
}
"""Package -> a program of it, its arguments, and what it prints."""

CROSS_SETS: Final = ("aarch64-multiplatform", "armv7l-hf-multiplatform", "riscv64")
MACHINES: Final = {
    "aarch64-multiplatform": "EM_AARCH64",
    "armv7l-hf-multiplatform": "EM_ARM",
    "riscv64": "EM_RISCV",
}


def build(attribute: str) -> Path:
    """The default output, built by plain Nix."""
    done = world.run(["nix-build", world.MINIPKGS, "-A", attribute, "--no-out-link"])
    return Path(done.stdout.split()[-1])


def closure(path: Path) -> list[Path]:
    done = world.run(["nix-store", "--query", "--requisites", path])
    return [Path(each) for each in done.stdout.split()]


def elf_files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if file.read(4) == b"\x7fELF":
                        yield path


def machine(path: Path) -> str:
    with path.open("rb") as file:
        return str(ELFFile(file)["e_machine"])


def check_says(root: Path, name: str) -> None:
    program, arguments, expected = SAYS[name]
    path = root / program
    done = subprocess.run(
        [path, *arguments.split()], capture_output=True, text=True, check=True, timeout=60
    )
    wanted = expected.format(program=path, length=len(str(path)))
    assert done.stdout.strip() == wanted


@pytest.mark.parametrize("name", SAYS)
def test_cross_compiled_programs_do_what_they_are_for(name: str) -> None:
    check_says(build(f"{world.CROSS}.{name}"), name)


@pytest.mark.long
@pytest.mark.parametrize("name", SAYS)
def test_natively_compiled_programs_do_the_same(name: str) -> None:
    check_says(build(f"pkgs.{name}"), name)


@pytest.mark.parametrize("cross", CROSS_SETS)
def test_everything_that_a_cross_compiled_program_reaches_is_the_hosts(cross: str) -> None:
    paths = closure(build(f"pkgsCross.{cross}.pigz"))

    found = {machine(file) for path in paths for file in elf_files(path)}

    assert found == {MACHINES[cross]}


def test_native_and_cross_libc_differ_in_path_and_agree_in_headers() -> None:
    native, cross = build("pkgs.glibc.dev"), build(f"{world.CROSS}.glibc.dev")

    assert native != cross
    assert not list(_differences(filecmp.dircmp(native / "include", cross / "include")))


def _differences(compared: "filecmp.dircmp[str]") -> Iterator[str]:
    yield from (*compared.left_only, *compared.right_only, *compared.funny_files)
    yield from compared.diff_files
    for below in compared.subdirs.values():
        yield from _differences(below)


def test_the_bad_packages_are_bad_only_when_cross_compiled() -> None:
    wrong = build(f"{world.CROSS}.bad.wrongArch")
    leaking = build(f"{world.CROSS}.bad.crossLibc")

    assert {machine(file) for file in elf_files(wrong)} == {"EM_X86_64"}
    target = StorePath.parse("/" + "/".join((leaking / "libc").read_text().split("/")[1:4]))
    assert target.name.startswith("glibc-aarch64-unknown-linux-gnu-")
    assert "doc" not in world.outputs(world.derivation(f"{world.CROSS}.bad.missingOutput"))
    assert "doc" in world.outputs(world.derivation("pkgs.bad.missingOutput"))


def test_an_output_that_is_not_made_fails_the_cross_build() -> None:
    attribute = f"{world.CROSS}.bad.unmadeOutput"

    done = world.run(["nix-build", world.MINIPKGS, "-A", attribute, "--no-out-link"], check=False)

    assert done.returncode != 0
    assert "failed to produce output path" in done.stderr


@pytest.mark.long
def test_native_and_cross_compilers_make_the_same_machine_code() -> None:
    native, cross = (build(f"{each}.zlib.static") / "lib/libz.a" for each in ("pkgs", world.CROSS))

    members = world.run(["ar", "t", native]).stdout.split()

    assert members
    assert members == world.run(["ar", "t", cross]).stdout.split()
    assert [_code(native, each) for each in members] == [_code(cross, each) for each in members]


def _code(archive: Path, member: str) -> bytes:
    """Machine code of an object: not linked, so that no path's length moves anything."""
    taken = subprocess.run(
        ["ar", "p", archive, member], capture_output=True, check=True, timeout=60
    )
    section = ELFFile(BytesIO(taken.stdout)).get_section_by_name(".text")
    assert section is not None
    return bytes(section.data())
