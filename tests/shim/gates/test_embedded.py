import bz2
import dataclasses
import gzip
import lzma
import os
import struct
from collections.abc import Callable

import pytest
import zstandard

from shim.gates.blob import Blob
from shim.gates.elffile import SHF_ALLOC, Elf
from shim.gates.settings import Limits, Settings
from tests.support.elf import ElfSpec, SectionSpec
from tests.support.packed import tar
from tests.support.planted import BUILD_BASH, Planted, rules

LEAK = f"{BUILD_BASH}/bin/bash".encode() + os.urandom(500)
FORMS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@forms
@pytest.mark.parametrize("size", [7, 4096, (1 << 20) - 3, (1 << 20) + 5])
def test_a_kernel_s_payload_is_looked_into(
    planted: Planted, form: Callable[[bytes], bytes], size: int
) -> None:
    planted.add("boot/Image", b"MZ" + bytes(size) + form(LEAK) + bytes(100))
    (found,) = planted.judge().findings
    assert found.rule == "references.forbidden"
    assert found.path.endswith(f"@{size + 2:#x}")


@forms
def test_what_a_script_unpacks_is_looked_into(
    planted: Planted, form: Callable[[bytes], bytes]
) -> None:
    planted.add("bin/x", b"#!/bin/sh\nexec tail -n +3 $0\n" + form(tar({"x": LEAK})))
    assert "references.forbidden" in rules(planted.judge())


@forms
def test_files_that_a_program_holds_are_looked_into(
    planted: Planted, form: Callable[[bytes], bytes]
) -> None:
    held = SectionSpec(".rodata", b"x" * 33 + form(LEAK) + form(b"more"), 1, 2)
    planted.add("lib/x.so", ElfSpec(sections=[held]).build())
    assert rules(planted.judge()) == ["references.forbidden"]


def test_a_program_may_hold_programs_for_other_machines(planted: Planted) -> None:
    other = gzip.compress(tar({"x": ElfSpec(machine=62).build()}))
    held = SectionSpec(".rodata", bytes(100) + other, 1, 2)
    planted.add("lib/x.so", ElfSpec(sections=[held]).build())
    assert planted.judge().findings == ()


@forms
def test_what_only_begins_like_a_stream_is_passed_by(
    planted: Planted, form: Callable[[bytes], bytes]
) -> None:
    planted.add("share/x", b"\0" + form(LEAK)[:12] + bytes(5000))
    assert planted.judge().findings == ()


def test_places_that_are_tried_are_counted_and_the_rest_is_told(planted: Planted) -> None:
    planted.add("share/x", (b"\0" + gzip.compress(b"x" * 100)) * 30)
    settings = dataclasses.replace(Settings(), limits=Limits(attempts=20))
    verdict = planted.judge(settings)
    assert rules(verdict) == ["contents.opaque"]
    assert "`attempts`" in verdict.findings[0].message
    assert planted.judge().findings == ()


def test_sections_that_share_their_bytes_are_searched_as_often_as_the_file_is_long() -> None:
    spec = ElfSpec(sections=[SectionSpec(f".d{n}", bytes(500), 1, 2) for n in range(20)])
    data = bytearray(spec.build())
    elf = Elf(Blob(bytes(data)))
    assert len(list(elf.data())) == 20
    first = next(part for part in elf.sections if part.flags == SHF_ALLOC)
    old, new = (struct.pack("<QQ", first.offset, size) for size in (500, 6000))
    data = data.replace(old, new)
    second = first.offset + 500
    data = data.replace(struct.pack("<QQ", second, 500), struct.pack("<QQ", second, 6000))
    assert len(list(Elf(Blob(bytes(data))).data())) < 20


def test_an_embedded_bomb_is_met_by_limits(planted: Planted) -> None:
    planted.add("share/x", b"\0" + gzip.compress(bytes(3 << 20)))
    settings = dataclasses.replace(Settings(), limits=Limits(member=1 << 20))
    assert rules(planted.judge(settings)) == ["contents.limit"]
