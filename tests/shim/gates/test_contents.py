import dataclasses
import gzip
import lzma
import os
import subprocess
from pathlib import Path

import pytest
import zstandard

from shim.gates.settings import Limits, Settings
from shim.gates.verdict import Severity
from tests.support.elf import ET_REL, ElfSpec
from tests.support.packed import COMPRESSED, STORED, ar, cpio_new, tar, zipped
from tests.support.planted import BUILD_BASH, Planted, rules

LEAK = f"#!{BUILD_BASH}/bin/bash\n".encode()
FOREIGN = ElfSpec(machine=62, type=ET_REL).build()
ALL = {**COMPRESSED, **STORED}


@pytest.mark.parametrize("form", ALL)
def test_a_reference_inside_is_found_once(planted: Planted, form: str) -> None:
    planted.add("share/packed", ALL[form](LEAK), executable=False)
    verdict = planted.judge()
    assert [found.rule for found in verdict.findings] == ["references.forbidden"]
    assert not verdict.accepted


@pytest.mark.parametrize("form", ALL)
def test_a_foreign_program_inside_is_found(planted: Planted, form: str) -> None:
    planted.add("share/packed", ALL[form](FOREIGN), executable=False)
    verdict = planted.judge()
    assert [found.rule for found in verdict.findings] == ["elf.machine"]
    assert verdict.findings[0].path.startswith("out/share/packed!")


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize("other", ["gzip", "ar", "zip"])
def test_containers_are_opened_in_each_other(planted: Planted, form: str, other: str) -> None:
    planted.add("share/packed", ALL[other](ALL[form](FOREIGN)), executable=False)
    assert rules(planted.judge()) == ["elf.machine"]


@pytest.mark.parametrize("form", ALL)
def test_a_cut_off_container_is_a_note_and_no_crash(planted: Planted, form: str) -> None:
    data = ALL[form](os.urandom(2000))
    for size in range(97, len(data), 97):
        planted.add(f"share/{size}", data[:size], executable=False)
    found = set(rules(planted.judge()))
    assert found <= {"contents.damaged", "elf.malformed"}
    assert found


def test_what_precedes_the_damage_is_still_searched(planted: Planted) -> None:
    data = gzip.compress(LEAK + os.urandom(100_000))
    planted.add("share/packed.gz", data[:-1000])
    assert rules(planted.judge()) == ["contents.damaged", "references.forbidden"]


def test_streams_one_behind_another_are_all_searched(planted: Planted) -> None:
    for form in ("gzip", "xz", "bzip2", "zstd"):
        pack = COMPRESSED[form]
        planted.add(f"share/{form}", pack(b"first") + pack(LEAK))
    assert [found.rule for found in planted.judge().findings] == ["references.forbidden"] * 4


def test_an_initial_ram_disk_is_opened_to_its_end(planted: Planted) -> None:
    early = cpio_new({"kernel/x86/microcode": b"data"})
    image = early + bytes(512 - len(early) % 512) + gzip.compress(cpio_new({"bin/x": FOREIGN}))
    planted.add("initrd", image)
    (found,) = [f for f in planted.judge().findings if f.rule == "elf.machine"]
    assert found.path.endswith("!gzip!bin/x")


def test_a_zip_file_behind_a_script_is_opened(planted: Planted) -> None:
    planted.add("bin/app", b"#!/bin/sh\nexit\n" + zipped({"x": FOREIGN}))
    assert "elf.machine" in rules(planted.judge())


def test_large_members_are_searched_on_disk(planted: Planted) -> None:
    settings = dataclasses.replace(Settings(), limits=Limits(memory=1000))
    padding = os.urandom(3_000_000)
    planted.add("share/packed.gz", gzip.compress(tar({"a": padding, "b": FOREIGN}), 1))
    assert rules(planted.judge(settings)) == ["elf.machine"]


def bomb(layers: int) -> bytes:
    data = bytes(1 << 20)
    for _ in range(layers):
        data = gzip.compress(data * 8)
    return data


@pytest.mark.parametrize(
    ("limits", "data", "word"),
    [
        (Limits(member=1 << 20), gzip.compress(bytes(2 << 20)), "`member`"),
        (Limits(ratio=100, free=1 << 16), lzma.compress(bytes(2 << 20)), "`ratio`"),
        (Limits(total=3 << 20), zipped({"a": bytes(2 << 20), "b": bytes(2 << 20)}), "`total`"),
        (Limits(total=3 << 20), zstandard.compress(bytes(1 << 30)), "`total`"),
        (Limits(entries=10), ar({f"{number}.o": b"x" for number in range(20)}), "`entries`"),
        (Limits(depth=3), bomb(5), "`depth`"),
    ],
)
def test_bombs_are_met_by_limits(planted: Planted, limits: Limits, data: bytes, word: str) -> None:
    planted.add("share/bomb", data)
    verdict = planted.judge(dataclasses.replace(Settings(), limits=limits))
    (found,) = [found for found in verdict.findings if found.severity is Severity.ERROR]
    assert found.rule == "contents.limit"
    assert word in found.message
    assert not verdict.accepted


def test_what_cannot_be_opened_is_told(planted: Planted) -> None:
    planted.add("share/image", b"hsqs" + bytes(100))
    verdict = planted.judge()
    assert rules(verdict) == ["contents.opaque"]
    assert verdict.accepted


def test_an_encrypted_member_is_told(planted: Planted) -> None:
    data = bytearray(zipped({"secret": b"x" * 100}))
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + place] |= 1
    planted.add("share/x.zip", bytes(data))
    assert rules(planted.judge()) == ["contents.opaque"]


def test_the_archiver_of_this_machine_is_understood(planted: Planted, tmp_path: Path) -> None:
    for name in ("one.c", "a_source_with_a_long_name.c"):
        (tmp_path / name).write_text(f"int {name[:3]}(void) {{ return 0; }}\n")
        subprocess.run(["gcc", "-c", name], cwd=tmp_path, check=True)
    objects = ["one.o", "a_source_with_a_long_name.o"]
    subprocess.run(["ar", "rcs", "libx.a", *objects], cwd=tmp_path, check=True)
    planted.add("lib/libx.a", (tmp_path / "libx.a").read_bytes())
    verdict = planted.judge()
    assert [found.path for found in verdict.findings] == [
        f"out/lib/libx.a!{name}" for name in sorted(objects)
    ]
    assert rules(verdict) == ["elf.machine"]


def test_the_compiler_s_compressed_debugging_data_are_searched(
    planted: Planted, tmp_path: Path
) -> None:
    filler = "".join(f"int f{number}(void) {{ return {number}; }}\n" for number in range(300))
    source = tmp_path / "a.c"
    source.write_text(f'const char *s;\n#line 1 "{BUILD_BASH}/x.c"\n{filler}')
    subprocess.run(["gcc", "-g", "-gz", "-c", "a.c"], cwd=tmp_path, check=True)
    data = (tmp_path / "a.o").read_bytes()
    assert BUILD_BASH.digest.encode() not in data
    planted.add("lib/a.o", data)
    verdict = planted.judge()
    assert "references.forbidden" in rules(verdict)
    assert any("!.debug_" in found.path for found in verdict.findings)


def test_bytes_are_counted_uncompressed_and_once(planted: Planted) -> None:
    before = planted.judge().examined
    data = gzip.compress(tar({"a": bytes(100_000)}))
    planted.add("share/packed.gz", data)
    plain = len(gzip.decompress(data))
    assert planted.judge().examined == before + len(data) + plain
