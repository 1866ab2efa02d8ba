import base64
import dataclasses
import gzip
import hashlib
import zipfile
import zlib
from pathlib import Path

import pytest

from protocol.store.path import StorePath
from shim.filetree import pack
from shim.gates import judge
from shim.gates.repair import Repaired, repair
from shim.gates.verdict import Severity
from tests.support.elf import ElfSpec, SectionSpec
from tests.support.packed import zipped
from tests.support.planted import BASH, BUILD_BASH, GLIBC, OUT, Planted, rules, store_path

PAIRS = {BUILD_BASH: BASH}


def repaired(
    planted: Planted, tmp_path: Path, pairs: dict[StorePath, StorePath] | None = None
) -> Repaired | None:
    into = tmp_path / "repaired"
    into.mkdir()
    return repair(planted.subject(), PAIRS if pairs is None else pairs, into)


def content(result: Repaired, inside: str) -> bytes:
    return (result.subject.physical(OUT) / inside).read_bytes()


def test_a_build_tool_s_shebang_becomes_the_native_tool_s(planted: Planted, tmp_path: Path) -> None:
    place = planted.add("bin/x", f"#!{BUILD_BASH}/bin/bash\necho\n".encode())
    assert not planted.judge().accepted
    result = repaired(planted, tmp_path)
    assert result is not None
    assert content(result, "bin/x") == f"#!{BASH}/bin/bash\necho\n".encode()
    assert BUILD_BASH.encode() in place.read_bytes()
    verdict = judge(result.subject, changes=result.changes)
    assert verdict.accepted
    assert rules(verdict) == ["repair.reference"]
    assert verdict.worst is Severity.WARNING
    assert verdict.findings[0].offset == len("#!/nix/store/")


def test_every_occurrence_is_replaced(planted: Planted, tmp_path: Path) -> None:
    text = f"{BUILD_BASH}/bin/bash ".encode()
    planted.add("share/x", text * 50_000)
    result = repaired(planted, tmp_path)
    assert result is not None
    assert content(result, "share/x") == text.replace(BUILD_BASH.encode(), BASH.encode()) * 50_000
    assert len(result.changes) == 1


def test_links_and_names_are_replaced_and_packed_in_order(planted: Planted, tmp_path: Path) -> None:
    planted.add(f"share/{BUILD_BASH.base}/x", b"x")
    planted.add(f"share/{store_path('between', '3').base}", b"x")
    planted.add("bin/sh", f"{BUILD_BASH}/bin/bash")
    result = repaired(planted, tmp_path)
    assert result is not None
    top = result.subject.physical(OUT)
    assert (top / "bin/sh").readlink() == Path(f"{BASH}/bin/bash")
    assert sorted(path.name for path in (top / "share").iterdir()) == [
        BASH.base,
        store_path("between", "3").base,
    ]
    assert len(result.changes) == 2
    nar = b"".join(pack(top))
    assert BUILD_BASH.digest.encode() not in nar
    assert nar.index(BASH.base.encode()) < nar.index(b"between")


def test_what_is_not_changed_is_the_same(planted: Planted, tmp_path: Path) -> None:
    planted.add("share/empty", b"")
    planted.add("share/link", "../bin/demo")
    planted.add("bin/x", f"#!{BUILD_BASH}/bin/bash\n".encode())
    result = repaired(planted, tmp_path)
    assert result is not None
    before = b"".join(pack(planted.root / OUT.lstrip("/")))
    after = b"".join(pack(result.subject.physical(OUT)))
    assert after == before.replace(BUILD_BASH.base.encode(), BASH.base.encode())


def test_names_of_other_lengths_are_not_replaced(planted: Planted, tmp_path: Path) -> None:
    planted.add("bin/x", f"#!{BUILD_BASH}/bin/bash\n".encode())
    longer = store_path("bash-5.2.1", "2")
    planted.allowed.add(longer)
    assert repaired(planted, tmp_path, {BUILD_BASH: longer}) is None


def test_only_native_inputs_are_put_in(planted: Planted, tmp_path: Path) -> None:
    planted.add("bin/x", f"#!{BUILD_BASH}/bin/bash\n".encode())
    assert repaired(planted, tmp_path, {BUILD_BASH: store_path("bash-5.2", "9")}) is None


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(BUILD_BASH.encode()),
        zipped({"x": BUILD_BASH.encode()}, zipfile.ZIP_STORED),
        BUILD_BASH.digest.encode(),
        BUILD_BASH.encode("utf-16-le"),
    ],
)
def test_nothing_else_is_rewritten(planted: Planted, tmp_path: Path, data: bytes) -> None:
    planted.add("share/x", data)
    assert repaired(planted, tmp_path) is None


@pytest.mark.parametrize(
    ("inside", "head"),
    [
        ("share/font.ttf", b"\0\1\0\0"),
        ("lib/x.ko", ElfSpec().build()),
        ("lib/x.pyc", b"\xcb\x0d\r\n\1\0\0\0"),
    ],
)
def test_contents_that_may_carry_a_checksum_are_left_alone(
    planted: Planted, tmp_path: Path, inside: str, head: bytes
) -> None:
    planted.add(inside, head + BUILD_BASH.encode() + b"~Module signature appended~\n")
    assert repaired(planted, tmp_path) is None


def test_python_s_compiled_files_are_repaired(planted: Planted, tmp_path: Path) -> None:
    planted.add("lib/x.pyc", b"\xcb\x0d\r\n" + bytes(12) + BUILD_BASH.encode())
    result = repaired(planted, tmp_path)
    assert result is not None
    assert content(result, "lib/x.pyc").endswith(BASH.encode())


SCRIPT = f"#!{BUILD_BASH}/bin/bash\n".encode()


@pytest.mark.parametrize(
    "line",
    [
        hashlib.sha256(SCRIPT).hexdigest() + "  bin/x",
        hashlib.md5(SCRIPT, usedforsecurity=False).hexdigest().upper(),
        "x,sha256="
        + base64.urlsafe_b64encode(hashlib.sha256(SCRIPT).digest()).rstrip(b"=").decode(),
        "sha512-" + base64.b64encode(hashlib.sha512(SCRIPT).digest()).decode(),
    ],
)
def test_what_a_list_of_checksums_names_is_left_alone(
    planted: Planted, tmp_path: Path, line: str
) -> None:
    planted.add("bin/x", SCRIPT)
    planted.add("share/sums", f"files:\n{line}\n".encode())
    assert repaired(planted, tmp_path) is None


def test_names_that_would_collide_are_left_alone(planted: Planted, tmp_path: Path) -> None:
    planted.add(f"share/{BUILD_BASH.base}", b"x")
    planted.add(f"share/{BASH.base}", b"y")
    assert repaired(planted, tmp_path) is None


def test_what_is_still_wrong_is_still_rejected(planted: Planted, tmp_path: Path) -> None:
    planted.add("bin/x", f"#!{BUILD_BASH}/bin/none\n".encode())
    result = repaired(planted, tmp_path)
    assert result is not None
    verdict = judge(result.subject, changes=result.changes)
    assert rules(verdict, Severity.ERROR) == ["scripts.missing"]


def test_the_checksum_of_a_changed_debug_file_is_put_right(
    planted: Planted, tmp_path: Path
) -> None:
    text = SectionSpec(".debug_str", f"{BUILD_BASH}/src".encode())
    debug = ElfSpec(sections=[text]).build()
    planted.add("lib/debug/demo.debug", debug)
    link = b"demo.debug\0\0" + zlib.crc32(debug).to_bytes(4, "little")
    program = ElfSpec(runpath=f"{GLIBC}/lib", sections=[SectionSpec(".gnu_debuglink", link)])
    place = planted.add("bin/linked", program.build())
    planted.add("bin/other", dataclasses.replace(program, soname="x").build())
    result = repaired(planted, tmp_path)
    assert result is not None
    changed = content(result, "lib/debug/demo.debug")
    assert changed != debug
    expected = b"demo.debug\0\0" + zlib.crc32(changed).to_bytes(4, "little")
    assert expected in content(result, "bin/linked")
    assert link in place.read_bytes()
    assert sorted(change.rule for change in result.changes) == [
        "repair.debuglink",
        "repair.debuglink",
        "repair.reference",
    ]
    assert judge(result.subject, changes=result.changes).accepted
