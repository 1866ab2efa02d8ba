import dataclasses
import subprocess
from pathlib import Path

import pytest

from shim.systems import SYSTEMS, ElfIdentity, System
from tests.support.elf import ET_REL, ElfSpec, arm_attributes
from tests.support.planted import GOOD_PROGRAM, OUT, Planted, rules

OBJECT = ElfSpec(type=ET_REL)
ARM = ElfSpec(machine=40, bits=32, flags=0x05000400, align=0x1000)
ARM_HARD = arm_attributes(tag6=10, tag23=3, tag28=1)
RISCV = ElfSpec(machine=243, flags=0x5, align=0x1000)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"machine": 62}, "elf.machine"),
        ({"machine": 40, "bits": 32}, "elf.machine"),
        ({"bits": 32}, "elf.class"),
        ({"endianness": "big"}, "elf.endianness"),
        ({"align": 0x800}, "elf.page-size"),
    ],
)
def test_a_library_for_something_else_is_found(
    planted: Planted, changes: dict[str, object], rule: str
) -> None:
    data = dataclasses.replace(ElfSpec(), **changes).build()  # type: ignore[arg-type]
    planted.add("lib/libx.so", data)
    verdict = planted.judge()
    assert rules(verdict) == [rule]
    assert not verdict.accepted
    assert {found.path for found in verdict.findings} == {"out/lib/libx.so"}


def test_this_machine_s_compiler_is_caught(planted: Planted, tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("int a(void) { return 0; }\n")
    subprocess.run(["gcc", "-c", "-o", tmp_path / "a.o", source], check=True)
    planted.add("lib/a.o", (tmp_path / "a.o").read_bytes())
    assert rules(planted.judge()) == ["elf.machine"]


def test_pages_smaller_than_some_kernels_are_a_note(planted: Planted) -> None:
    planted.add("lib/libx.so", dataclasses.replace(ElfSpec(), align=0x1000).build())
    verdict = planted.judge()
    assert rules(verdict) == ["elf.small-pages"]
    assert verdict.accepted


def test_code_for_no_processor_is_a_note(planted: Planted) -> None:
    planted.add("lib/filter.o", dataclasses.replace(OBJECT, machine=247).build())
    planted.add("lib/empty.o", dataclasses.replace(OBJECT, machine=0).build())
    verdict = planted.judge()
    assert rules(verdict) == ["elf.no-machine"]
    assert verdict.accepted


def arm(folder: Path, data: bytes, system: str = "armv7l-linux") -> list[str]:
    result = Planted(folder, system)
    result.add("lib/libx.so", data)
    return rules(result.judge())


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (dataclasses.replace(ARM, sections=[ARM_HARD]), []),
        (ARM, []),
        (dataclasses.replace(ARM, flags=0x05000200), ["elf.float-abi"]),
        (
            dataclasses.replace(ARM, sections=[arm_attributes(tag6=10, tag23=3)]),
            ["elf.float-abi"],
        ),
        (dataclasses.replace(ARM, sections=[arm_attributes(tag6=10)]), []),
        (dataclasses.replace(ARM, sections=[arm_attributes(tag6=10, tag23=3, tag28=3)]), []),
        (
            dataclasses.replace(ARM, sections=[arm_attributes(tag6=14, tag23=3, tag28=1)]),
            ["elf.cpu-arch"],
        ),
        (dataclasses.replace(ARM, flags=0x04000400), ["elf.flags"]),
        (
            dataclasses.replace(
                ARM, type=ET_REL, flags=0x05000000, sections=[arm_attributes(tag6=10, tag23=3)]
            ),
            ["elf.float-abi"],
        ),
        (
            dataclasses.replace(
                ARM,
                type=ET_REL,
                flags=0x05000000,
                code=False,
                sections=[arm_attributes(tag6=10, tag23=3)],
            ),
            [],
        ),
    ],
)
def test_arm_calling_conventions_are_told_apart(
    tmp_path: Path, spec: ElfSpec, found: list[str]
) -> None:
    assert arm(tmp_path, spec.build()) == found


def test_armv6_does_not_run_armv7(tmp_path: Path) -> None:
    data = dataclasses.replace(ARM, sections=[ARM_HARD]).build()
    assert arm(tmp_path, data, "armv6l-linux") == ["elf.cpu-arch"]


@pytest.mark.parametrize(
    ("flags", "found"),
    [(0x5, []), (0x4, []), (0x1, ["elf.flags"]), (0x3, ["elf.flags"]), (0xD, ["elf.flags"])],
)
def test_risc_v_float_flags_are_told_apart(tmp_path: Path, flags: int, found: list[str]) -> None:
    result = Planted(tmp_path, "riscv64-linux")
    result.add("lib/libx.so", dataclasses.replace(RISCV, flags=flags).build())
    assert rules(result.judge()) == found


def library(identity: ElfIdentity) -> bytes:
    flags = 0
    for rule in identity.flags:
        flags |= max(rule.values)
    return ElfSpec(
        machine=identity.machine,
        bits=identity.bits,
        endianness=identity.endianness,
        flags=flags,
        sections=[arm_attributes(tag6=6, tag23=3, tag28=1)] if identity.machine == 40 else [],
    ).build()


@pytest.mark.parametrize("row", SYSTEMS.values(), ids=lambda row: row.nix)
def test_a_system_accepts_its_own_libraries_only(tmp_path: Path, row: System) -> None:
    accepted = []
    for number, other in enumerate(SYSTEMS.values()):
        result = Planted(tmp_path / str(number), row.nix)
        result.add("lib/libx.so", library(other.elf))
        if result.judge().accepted:
            accepted.append(other.nix)
    # ARMv6 code runs on ARMv7; the other way round is told by Tag_CPU_arch, tested above.
    arms = ["armv7l-linux", "armv6l-linux"]
    assert accepted == (arms if row.nix in arms else [row.nix])


@pytest.mark.parametrize("size", [4, 20, 40, 63, 64, 100, 200])
def test_a_cut_off_file_is_malformed_and_no_crash(planted: Planted, size: int) -> None:
    planted.add("lib/libx.so", GOOD_PROGRAM[:size])
    found = rules(planted.judge())
    assert found == ["elf.malformed"]


def test_a_damaged_dynamic_section_is_malformed(planted: Planted) -> None:
    data = bytearray(ElfSpec(soname="libx.so", needed=["libc.so.6"]).build())
    place = data.index((1).to_bytes(8, "little") + (1).to_bytes(8, "little"))
    data[place + 8 : place + 16] = b"\xff" * 8
    planted.add("lib/libx.so", bytes(data))
    assert rules(planted.judge()) == ["elf.malformed"]


@pytest.mark.parametrize(
    ("name", "inside", "accepted"),
    [
        ("libgcrypt-1.11.0", "lib/libgcrypt.so.20", True),
        ("zfs-kernel-2.3-6.12", "lib/modules/6.12/extra/zfs.ko", True),
        ("zlib-1.3.1", "lib/libz.so.1", False),
    ],
)
def test_code_for_newer_processors_is_right_where_it_is_known_to_be_chosen_at_run_time(
    tmp_path: Path, name: str, inside: str, accepted: bool
) -> None:
    result = Planted(tmp_path, "armv7l-linux")
    v8 = arm_attributes(tag6=14, tag23=3, tag28=1)
    result.add(inside, dataclasses.replace(ARM, sections=[v8]).build())
    out = type(OUT).parse(OUT.replace("demo-1.0", name))
    (tmp_path / OUT.lstrip("/")).rename(tmp_path / out.lstrip("/"))
    result.outputs = {"out": out}
    verdict = result.judge(name=name)
    assert rules(verdict) == ["elf.cpu-arch"]
    assert verdict.accepted is accepted


def test_test_data_may_be_for_any_machine(planted: Planted) -> None:
    planted.add("share/go/testdata/x.so", ElfSpec(machine=62).build())
    verdict = planted.judge()
    assert verdict.accepted
    assert rules(verdict) == ["elf.machine"]
    assert "on purpose" in verdict.findings[0].message


def test_kernel_helpers_are_a_warning_in_the_development_output_only(tmp_path: Path) -> None:
    result = Planted(tmp_path)
    dev = type(OUT).parse(OUT.replace("demo-1.0", "linux-6.12-dev"))
    out = type(OUT).parse(OUT.replace("demo-1.0", "linux-6.12"))
    result.outputs = {"dev": dev, "out": out}
    helper = ElfSpec(machine=62).build()
    result.add("lib/modules/6.12/build/scripts/mod/modpost", helper, path=dev)
    result.add("lib/modules/6.12/x.ko", OBJECT.build(), path=out)
    verdict = result.judge(name="linux-6.12")
    assert verdict.accepted
    result.add("bin/tool", helper, path=out)
    assert not result.judge(name="linux-6.12").accepted
