"""What only the files of two toolchains can tell."""

import re
from pathlib import Path

import pytest

from shim.daemon.plants.headers import difference
from shim.daemon.plants.symbols import lacking, offered


def headers(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / "include" / f"{name}.h"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_equal_headers_may_stand_for_one_another(tmp_path: Path) -> None:
    one = headers(tmp_path / "one", stdio="int puts(const char *);", math="")
    other = headers(tmp_path / "other", math="", stdio="int puts(const char *);")
    for folder in (one, other):
        (folder / "include" / "linux").symlink_to(folder)
    assert difference(one, other) is None


@pytest.mark.parametrize("changed", [{"stdio": "int puts(char *);"}, {"stdio": "", "extra": ""}])
def test_headers_that_differ_in_contents_or_names_may_not(
    tmp_path: Path, changed: dict[str, str]
) -> None:
    one = headers(tmp_path / "one", stdio="")
    other = headers(tmp_path / "other", **changed)
    assert "differ in content" in (difference(one, other) or "")


def test_an_output_without_headers_is_named(tmp_path: Path) -> None:
    one = headers(tmp_path / "one", stdio="")
    assert f"`{tmp_path}/none/include` is no folder" == difference(one, tmp_path / "none")


@pytest.fixture
def libc() -> bytes:
    for path in Path("/lib").glob("*-linux-gnu*/libc.so.6"):
        return path.read_bytes()
    pytest.skip("this machine has no glibc where Debian has it")


def library(folder: Path, name: str, content: bytes) -> Path:
    (folder / "lib").mkdir(parents=True, exist_ok=True)
    (folder / "lib" / name).write_bytes(content)
    return folder


def test_a_native_library_must_define_what_the_cross_one_does(tmp_path: Path, libc: bytes) -> None:
    native = library(tmp_path / "native", "libc.so.6", libc)
    numbered = [each for each in offered(native)["libc.so.6"] if each.startswith("GLIBC_2.")]
    last = max(numbered, key=lambda each: [int(part) for part in re.findall(r"\d+", each)])
    later = last[:-1] + ("X" if last[-1] != "X" else "Y")
    changed = libc.replace(b"%s\0" % last.encode(), b"%s\0" % later.encode())
    cross = library(tmp_path / "cross", "libc.so.6", changed)
    complaint = lacking(native, cross)
    assert complaint is not None
    assert f"libc.so.6 {later}" in complaint
    assert last not in complaint
    assert lacking(native, native) is None


def test_libraries_of_one_side_and_other_files_are_nothing_to_compare(
    tmp_path: Path, libc: bytes
) -> None:
    native = library(tmp_path / "native", "libgcc_s.so", b"GROUP ( libgcc_s.so.1 )")
    cross = library(tmp_path / "cross", "libc.so.6", libc)
    library(cross, "broken.so", libc[:100])
    (cross / "lib" / "libc.so").symlink_to("libc.so.6")
    assert lacking(native, cross) is None
    assert lacking(cross, native) is None
    assert offered(cross).keys() == {"libc.so.6"}
