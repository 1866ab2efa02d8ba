import subprocess
from pathlib import Path
from typing import Any

import pytest

from shim.errors import ExitCode, ShimError
from shim.systems import SYSTEMS, ElfIdentity, FloatAbi, System

NEW: dict[str, Any] = {
    "cross": "sheevaplug",
    "triple": "armv5tel-unknown-linux-gnueabi",
    "loader": "ld-linux.so.3",
    "emulator": "qemu-arm",
    "elf": {
        "machine": 40,
        "bits": 32,
        "endianness": "little",
        "float_abi": "soft",
        "flags": [{"name": "EABI version", "mask": 0xFF000000, "values": [0x05000000]}],
    },
}


@pytest.mark.parametrize("row", SYSTEMS.values(), ids=lambda row: row.nix)
def test_a_row_is_found_by_each_of_its_names(row: System) -> None:
    assert SYSTEMS[row.nix] is row
    assert SYSTEMS.by_cross_attribute(row.cross) is row
    assert [SYSTEMS.by_triple(name) for name in row.triples] == [row] * len(row.triples)


def test_no_two_rows_share_a_triple_or_cross_attribute() -> None:
    triples = [name for row in SYSTEMS.values() for name in row.triples]
    crosses = [row.cross for row in SYSTEMS.values()]
    assert len(set(triples)) == len(triples)
    assert len(set(crosses)) == len(crosses)


def test_this_machine_has_the_identity_that_its_compiler_writes(tmp_path: Path) -> None:
    triple = subprocess.run(
        ["gcc", "-dumpmachine"], capture_output=True, text=True, check=True
    ).stdout.strip()
    source = tmp_path / "a.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-no-pie", "-o", tmp_path / "a", source], check=True)
    found = bytearray((tmp_path / "a").read_bytes()[:20])
    found[7] = 0  # OSABI: GNU or System V, both are ours
    assert bytes(found) == SYSTEMS.by_triple(triple).elf.header()


@pytest.mark.parametrize("name", ["aarch64-linux", "armv7l-linux", "riscv64-linux"])
def test_a_registered_emulator_matches_the_header(name: str) -> None:
    entry = Path("/proc/sys/fs/binfmt_misc") / SYSTEMS[name].emulator
    if not entry.exists():
        pytest.skip(f"no binfmt_misc entry {entry.name} on this machine")
    facts = dict(line.partition(" ")[::2] for line in entry.read_text().splitlines())
    magic, mask = bytes.fromhex(facts["magic"]), bytes.fromhex(facts["mask"])
    header = SYSTEMS[name].elf.header()
    assert bytes(a & m for a, m in zip(header, mask, strict=True)) == bytes(
        a & m for a, m in zip(magic, mask, strict=True)
    )


def test_unknown_names_are_refused_with_what_is_known() -> None:
    with pytest.raises(ShimError, match="unknown system: `arm64-linux`") as caught:
        SYSTEMS["arm64-linux"]
    assert "aarch64-linux" in caught.value.hint
    assert caught.value.code is ExitCode.CONFIG


def test_a_configuration_adds_a_system() -> None:
    row = SYSTEMS.extended({"armv5tel-linux": NEW})["armv5tel-linux"]
    assert row.triple == "armv5tel-unknown-linux-gnueabi"
    assert row.elf.float_abi is FloatAbi.SOFT
    assert row.elf.flags[0].values == frozenset({0x05000000})
    assert row.page_sizes == (4096,)
    assert "armv5tel-linux" not in SYSTEMS


def test_a_configuration_changes_one_field_of_a_known_system() -> None:
    changed = SYSTEMS.extended({"aarch64-linux": {"page_sizes": [4096], "elf": {"machine": 183}}})[
        "aarch64-linux"
    ]
    assert changed.page_sizes == (4096,)
    assert changed.elf == ElfIdentity(183, 64, "little")
    assert changed.triple == SYSTEMS["aarch64-linux"].triple


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x-linux": {"cross": "x"}}, "`platforms.x-linux` lacks `triple`"),
        ({"aarch64-linux": {"tripel": "x"}}, "unknown field: `tripel`"),
        ({"aarch64-linux": {"triple": 3}}, "`platforms.aarch64-linux.triple` cannot be used: `3`"),
        ({"aarch64-linux": {"elf": {"bits": 16}}}, "elf.bits` cannot be used: `16`"),
        ({"aarch64-linux": {"elf": {"bits": True}}}, "elf.bits` cannot be used: `True`"),
        ({"aarch64-linux": {"elf": {"float_abi": "x"}}}, "elf.float_abi` cannot be used: `'x'`"),
        ({"aarch64-linux": {"elf": {"flags": [{"mask": 1}]}}}, "elf.flags` cannot be used"),
        ({"aarch64-linux": {"page_sizes": "4096"}}, "page_sizes` cannot be used: `'4096'`"),
        ({"x-linux": {**NEW, "elf": {"machine": 1}}}, "`platforms.x-linux.elf` lacks `bits`"),
    ],
)
def test_a_bad_row_is_named(table: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(ShimError) as caught:
        SYSTEMS.extended(table)
    assert message in str(caught.value)
    assert caught.value.code is ExitCode.CONFIG
