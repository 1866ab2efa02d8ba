"""What is known of every Nix system we build for: one table of facts, and look-ups in it.

It does not probe the machine and does not know packages.  Each row joins the names that four worlds
use for one platform: Nix (`aarch64-linux`), nixpkgs (`pkgsCross.aarch64-multiplatform`), the GNU
tools (`aarch64-unknown-linux-gnu`) and the kernel (ELF identity, binfmt_misc entry, page sizes).
A configuration may add rows or change fields of rows; the table itself is never modified.

Sources: nixpkgs `lib/systems/examples.nix` and `platforms.nix` for names and baselines,
`bintools-wrapper` for dynamic linkers, the processor supplements of the ELF ABI (ARM IHI 0044 and
0045, RISC-V psABI, OpenPOWER ELFv2, LoongArch psABI) for machines, flags and attributes, Linux's
Kconfig files for page sizes, and qemu's `qemu-binfmt-conf.sh` for emulator names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from shim.errors import ExitCode, ShimError


class FloatAbi(StrEnum):
    """How floating-point arguments travel between functions."""

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class FlagRule:
    """Bits of `e_flags` that every object with code must agree on.

    Attributes:
        name: what the bits mean, for messages.
        mask: the bits looked at.
        values: the values that may stand there, after masking.
    """

    name: str
    mask: int
    values: frozenset[int]


@dataclass(frozen=True, slots=True)
class ElfIdentity:
    """What an ELF file must say of itself to be meant for a platform.

    Attributes:
        machine: `e_machine`.
        bits: 32 or 64 (`EI_CLASS`).
        endianness: of the file and of the processor (`EI_DATA`).
        flags: rules over `e_flags`, for files that hold code.
        float_abi: calling convention, where ARM build attributes (`Tag_ABI_VFP_args`) state it.
        cpu_arch: values of ARM's `Tag_CPU_arch` that the baseline can execute; empty: not judged.
    """

    machine: int
    bits: Literal[32, 64]
    endianness: Literal["little", "big"]
    flags: tuple[FlagRule, ...] = ()
    float_abi: FloatAbi | None = None
    cpu_arch: frozenset[int] = frozenset()

    def header(self) -> bytes:
        """The first 20 bytes of an executable, as binfmt_misc compares them with its magic."""
        ident = bytes((0x7F, 0x45, 0x4C, 0x46, self.bits // 32, 1 + (self.endianness == "big"), 1))
        kind = (2).to_bytes(2, self.endianness)
        return ident.ljust(16, b"\0") + kind + self.machine.to_bytes(2, self.endianness)


@dataclass(frozen=True, slots=True)
class System:
    """One platform under all its names.

    Attributes:
        nix: Nix's `system`, such as `aarch64-linux`.
        cross: attribute of nixpkgs' `pkgsCross` that builds for it.
        triple: GNU triple (`config`) nixpkgs uses: suffix of cross names, prefix of cross tools.
        elf: identity of its ELF files.
        loader: file name of glibc's dynamic linker.
        emulator: qemu's user-mode program, which is also Debian's name of the binfmt_misc entry.
        page_sizes: sizes in bytes that kernels of this platform are built with, ascending.
        aliases: other triples that distributions' toolchains print for it.
    """

    nix: str
    cross: str
    triple: str
    elf: ElfIdentity
    loader: str
    emulator: str
    page_sizes: tuple[int, ...] = (4096,)
    aliases: tuple[str, ...] = ()

    @property
    def triples(self) -> tuple[str, ...]:
        """All spellings of the GNU triple, nixpkgs' own first."""
        return (self.triple, *self.aliases)

    @property
    def binfmt_names(self) -> tuple[str, ...]:
        """Names under `/proc/sys/fs/binfmt_misc`: Debian's, then NixOS's."""
        return (self.emulator, self.nix)


_ARM_EABI5: Final = FlagRule("EABI version", 0xFF000000, frozenset({0x05000000}))
_RISCV_DOUBLE: Final = (
    FlagRule("float ABI", 0x6, frozenset({0x4})),
    FlagRule("register set (RVE)", 0x8, frozenset({0})),
)
_POWER_ELFV2: Final = FlagRule("ABI version", 0x3, frozenset({0, 2}))
_LOONGARCH_DOUBLE: Final = FlagRule("float ABI", 0x7, frozenset({0x3}))

_ARMV6: Final = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 9})
"""Tag_CPU_arch up to v6 with v6KZ and v6K; v6T2 (8) brings Thumb-2, which those boards lack."""

ROWS: Final = (
    System(
        nix="aarch64-linux",
        cross="aarch64-multiplatform",
        triple="aarch64-unknown-linux-gnu",
        elf=ElfIdentity(183, 64, "little"),
        loader="ld-linux-aarch64.so.1",
        emulator="qemu-aarch64",
        page_sizes=(4096, 16384, 65536),
        aliases=("aarch64-linux-gnu",),
    ),
    System(
        nix="armv7l-linux",
        cross="armv7l-hf-multiplatform",
        triple="armv7l-unknown-linux-gnueabihf",
        elf=ElfIdentity(
            40, 32, "little", (_ARM_EABI5,), FloatAbi.HARD, frozenset({*_ARMV6, 8, 10})
        ),
        loader="ld-linux-armhf.so.3",
        emulator="qemu-arm",
        aliases=("arm-linux-gnueabihf", "armv7l-linux-gnueabihf"),
    ),
    System(
        nix="armv6l-linux",
        cross="raspberryPi",
        triple="armv6l-unknown-linux-gnueabihf",
        elf=ElfIdentity(40, 32, "little", (_ARM_EABI5,), FloatAbi.HARD, _ARMV6),
        loader="ld-linux-armhf.so.3",
        emulator="qemu-arm",
        aliases=("armv6l-linux-gnueabihf",),
    ),
    System(
        nix="riscv64-linux",
        cross="riscv64",
        triple="riscv64-unknown-linux-gnu",
        elf=ElfIdentity(243, 64, "little", _RISCV_DOUBLE),
        loader="ld-linux-riscv64-lp64d.so.1",
        emulator="qemu-riscv64",
        aliases=("riscv64-linux-gnu",),
    ),
    System(
        nix="i686-linux",
        cross="gnu32",
        triple="i686-unknown-linux-gnu",
        elf=ElfIdentity(3, 32, "little"),
        loader="ld-linux.so.2",
        emulator="qemu-i386",
        aliases=("i686-linux-gnu", "i386-linux-gnu", "i686-pc-linux-gnu"),
    ),
    System(
        nix="powerpc64le-linux",
        cross="powernv",
        triple="powerpc64le-unknown-linux-gnu",
        elf=ElfIdentity(21, 64, "little", (_POWER_ELFV2,)),
        loader="ld64.so.2",
        emulator="qemu-ppc64le",
        page_sizes=(4096, 65536),
        aliases=("powerpc64le-linux-gnu",),
    ),
    System(
        nix="s390x-linux",
        cross="s390x",
        triple="s390x-unknown-linux-gnu",
        elf=ElfIdentity(22, 64, "big"),
        loader="ld64.so.1",
        emulator="qemu-s390x",
        aliases=("s390x-linux-gnu",),
    ),
    System(
        nix="loongarch64-linux",
        cross="loongarch64-linux",
        triple="loongarch64-unknown-linux-gnu",
        elf=ElfIdentity(258, 64, "little", (_LOONGARCH_DOUBLE,)),
        loader="ld-linux-loongarch-lp64d.so.1",
        emulator="qemu-loongarch64",
        page_sizes=(4096, 16384, 65536),
        aliases=("loongarch64-linux-gnu",),
    ),
    System(
        nix="x86_64-linux",
        cross="gnu64",
        triple="x86_64-unknown-linux-gnu",
        elf=ElfIdentity(62, 64, "little"),
        loader="ld-linux-x86-64.so.2",
        emulator="qemu-x86_64",
        aliases=("x86_64-linux-gnu", "x86_64-pc-linux-gnu"),
    ),
)
"""The platforms that ship with us, in the order of their importance."""


class Systems(Mapping[str, System]):
    """Rows by Nix system name, with look-ups by the other names.

    `systems[name]` raises `ShimError` (not `KeyError`) for an unknown name, because a name always
    comes from a user, a board or a configuration file.
    """

    def __init__(self, rows: Iterable[System]) -> None:
        self._rows = MappingProxyType({row.nix: row for row in rows})
        self._by_triple = {name: row for row in self._rows.values() for name in row.triples}
        self._by_cross = {row.cross: row for row in self._rows.values()}

    def __getitem__(self, nix: str) -> System:
        return self._found(self._rows, nix, "system")

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, nix: object) -> bool:
        return nix in self._rows

    def by_triple(self, triple: str) -> System:
        """The row whose GNU triple, or an alias of it, is `triple`; `ShimError` if none is."""
        return self._found(self._by_triple, triple, "GNU triple")

    def by_cross_attribute(self, attribute: str) -> System:
        """The row of `pkgsCross.<attribute>`; `ShimError` if none is."""
        return self._found(self._by_cross, attribute, "pkgsCross attribute")

    def extended(self, table: Mapping[str, Mapping[str, Any]]) -> "Systems":
        """These rows with those of a configuration laid over them.

        Args:
            table: Nix system -> fields, named as in `System` and, under `elf`, as in `ElfIdentity`.
                A new system must give every field without a default; a known one what changes.
                `elf.flags` is a list of `{name, mask, values}`.

        Raises:
            ShimError: an unknown or missing field, or a value of the wrong kind.
        """
        rows = dict(self._rows)
        for nix, given in table.items():
            rows[nix] = _row(nix, given, rows.get(nix))
        return Systems(rows.values())

    @staticmethod
    def _found(index: Mapping[str, System], name: str, kind: str) -> System:
        if name not in index:
            raise ShimError(
                f"unknown {kind}: `{name}`",
                hint=f"known are {', '.join(sorted(index))}; others can be added under `platforms`",
                code=ExitCode.CONFIG,
            )
        return index[name]


_Reader = Callable[[Any], Any]


def _is(kind: type) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError
        return value

    return read


def _one_of(*choices: Any) -> _Reader:
    def read(value: Any) -> Any:
        if value not in choices:
            raise TypeError
        return value

    return read


def _each(item: _Reader, into: Callable[[Iterable[Any]], Any]) -> _Reader:
    def read(value: Any) -> Any:
        return into(item(element) for element in _is(list)(value))

    return read


def _flag_rule(value: Any) -> FlagRule:
    given = _is(dict)(value)
    if set(given) != {"name", "mask", "values"}:
        raise TypeError
    values = _each(_is(int), frozenset)(given["values"])
    return FlagRule(_is(str)(given["name"]), _is(int)(given["mask"]), values)


_ELF_READERS: Final[Mapping[str, tuple[_Reader, str]]] = {
    "machine": (_is(int), "a number (`e_machine`)"),
    "bits": (_one_of(32, 64), "32 or 64"),
    "endianness": (_one_of("little", "big"), '"little" or "big"'),
    "flags": (_each(_flag_rule, tuple), "a list of { name, mask, values }"),
    "float_abi": (FloatAbi, '"hard" or "soft"'),
    "cpu_arch": (_each(_is(int), frozenset), "a list of numbers (`Tag_CPU_arch`)"),
}
_SYSTEM_READERS: Final[Mapping[str, tuple[_Reader, str]]] = {
    "cross": (_is(str), "a string"),
    "triple": (_is(str), "a string"),
    "elf": (_is(dict), "a table"),
    "loader": (_is(str), "a string"),
    "emulator": (_is(str), "a string"),
    "page_sizes": (_each(_is(int), tuple), "a list of numbers"),
    "aliases": (_each(_is(str), tuple), "a list of strings"),
}


def _read(
    where: str,
    given: Mapping[str, Any],
    readers: Mapping[str, tuple[_Reader, str]],
    required: Iterable[str],
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in readers:
            raise ShimError(
                f"`{where}` has an unknown field: `{name}`",
                hint=f"fields are {', '.join(readers)}",
                code=ExitCode.CONFIG,
            )
        reader, wanted = readers[name]
        try:
            values[name] = reader(value)
        except (TypeError, ValueError):
            raise ShimError(
                f"`{where}.{name}` cannot be used: `{value!r}`",
                hint=f"it must be {wanted}",
                code=ExitCode.CONFIG,
            ) from None
    if missing := [name for name in required if name not in values]:
        raise ShimError(
            f"`{where}` lacks `{missing[0]}`",
            hint=f"a new system must give {', '.join(required)}",
            code=ExitCode.CONFIG,
        )
    return values


def _row(nix: str, given: Mapping[str, Any], known: System | None) -> System:
    where = f"platforms.{nix}"
    needed = [] if known else ["cross", "triple", "elf", "loader", "emulator"]
    values = _read(where, given, _SYSTEM_READERS, needed)
    if "elf" in values:
        needed = [] if known else ["machine", "bits", "endianness"]
        elf = _read(f"{where}.elf", values["elf"], _ELF_READERS, needed)
        values["elf"] = replace(known.elf, **elf) if known else ElfIdentity(**elf)
    return replace(known, **values) if known else System(nix=nix, **values)


SYSTEMS: Final = Systems(ROWS)
"""The table that ships with us."""
