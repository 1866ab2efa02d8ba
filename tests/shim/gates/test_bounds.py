"""Contents made to cost more than they weigh: each is met by a bound, whatever its size."""

import dataclasses
import struct
import zipfile
import zlib

import pytest

from protocol.store.base32 import encode
from shim.gates.blob import Blob
from shim.gates.elffile import MOST_NEEDED, Elf, ElfError
from shim.gates.references import MOST_UNKNOWN
from shim.gates.settings import Limits, Settings
from tests.support.elf import ET_REL, ElfSpec, SectionSpec
from tests.support.packed import zipped
from tests.support.planted import BUILD_BASH, GLIBC, LOADER, Planted, rules


def limited(**limits: int) -> Settings:
    return dataclasses.replace(Settings(), limits=Limits(**limits))


def test_members_of_a_zip_file_that_share_their_bytes_reject(planted: Planted) -> None:
    once = zipped({"a": bytes(3000)}, zipfile.ZIP_STORED)
    start, end = once.index(b"PK\x01\x02"), once.index(b"PK\x05\x06")
    directory = once[start:end] * 3
    sizes = struct.pack("<HHII", 3, 3, len(directory), start)
    packed = once[:start] + directory + once[end : end + 8] + sizes + bytes(2)
    planted.add("share/x.zip", packed)
    (found,) = planted.judge().findings
    assert (found.rule, found.message) == ("contents.limit", "a zip file whose members overlap")


def test_compressed_bytes_count_although_nothing_comes_out_of_them(planted: Planted) -> None:
    packed = zlib.compressobj(wbits=15)
    empty = b"".join(packed.flush(zlib.Z_FULL_FLUSH) for _ in range(20_000)) + packed.flush()
    head = struct.pack("<IIQQ", 1, 0, 0, 1)
    sections = [SectionSpec(f".debug_{n}", head + empty, 1, 0x800) for n in range(20)]
    planted.add("lib/x.o", ElfSpec(type=ET_REL, sections=sections).build())
    assert rules(planted.judge(limited(total=len(empty) * 10))) == ["contents.limit"]
    assert rules(planted.judge(limited(total=len(empty) * 30))) == []


def test_one_long_string_named_by_many_tables_is_read_a_few_times() -> None:
    few, many = (ElfSpec(needed=["x" * 60_000] * count) for count in (9, 200))
    Elf(Blob(few.build())).read()
    with pytest.raises(ElfError, match="bytes of strings"):
        Elf(Blob(many.build())).read()


def test_a_file_that_needs_more_libraries_than_any_program_is_malformed(planted: Planted) -> None:
    planted.add("lib/x.so", ElfSpec(needed=["libc.so.6"] * (MOST_NEEDED + 1)).build())
    assert "elf.malformed" in rules(planted.judge())


def test_folders_searched_again_and_again_reject(planted: Planted) -> None:
    names = [f"lib{number}.so" for number in range(300)]
    planted.add("lib/x.so", ElfSpec(needed=names, runpath=f"{GLIBC}/none:" * 300).build())
    assert "contents.limit" in rules(planted.judge(limited(lookups=50_000)))


def test_a_list_of_all_packages_is_told_of_once_and_searched_to_its_end(planted: Planted) -> None:
    paths = [
        f"/nix/store/{encode(number.to_bytes(20, 'big'))}-x\n" for number in range(MOST_UNKNOWN * 2)
    ]
    planted.add("share/paths", "".join(paths).encode() + BUILD_BASH.encode())
    verdict = planted.judge(visible=frozenset())
    assert rules(verdict) == ["references.forbidden", "references.stray"]
    assert any(found.message == f"{MOST_UNKNOWN - 50} more like it" for found in verdict.findings)


def test_libraries_found_nowhere_are_not_collected_forever(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shim.gates.loading.MOST_WAITING", 10)
    needed = [f"lib{number}.so" for number in range(20)]
    planted.add("bin/x", ElfSpec(interpreter=LOADER, needed=needed).build())
    assert rules(planted.judge()) == ["contents.limit", "loading.needed"]
