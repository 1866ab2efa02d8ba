"""Reading ELF files: headers, dynamic section, symbol versions, ARM attributes.  Judges nothing.

Only the tables that gates need are read, each from its own place and with a bound, so that a large
file costs no more than a small one and a damaged one cannot cost more than its size.  Layouts are
those of the System V ABI (gABI), symbol versions of the LSB, attributes of ARM IHI 0045.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from shim.gates.armattributes import AttributesError, file_attributes
from shim.gates.blob import Blob

MAGIC: Final = b"\x7fELF"

ET_REL: Final = 1
ET_EXEC: Final = 2
ET_DYN: Final = 3

PT_LOAD: Final = 1
PT_DYNAMIC: Final = 2
PT_INTERP: Final = 3

SHT_PROGBITS: Final = 1
SHT_DYNAMIC: Final = 6
SHT_NOTE: Final = 7
SHT_NOBITS: Final = 8
SHT_ARM_ATTRIBUTES: Final = 0x70000003
SHF_ALLOC: Final = 0x2
SHF_EXECINSTR: Final = 0x4
SHF_COMPRESSED: Final = 0x800

DT_NEEDED: Final = 1
DT_STRTAB: Final = 5
DT_STRSZ: Final = 10
DT_SONAME: Final = 14
DT_RPATH: Final = 15
DT_RUNPATH: Final = 29
DT_VERDEF: Final = 0x6FFFFFFC
DT_VERDEFNUM: Final = 0x6FFFFFFD
DT_VERNEED: Final = 0x6FFFFFFE
DT_VERNEEDNUM: Final = 0x6FFFFFFF

VER_FLG_BASE: Final = 1
VER_FLG_WEAK: Final = 2

PF_X: Final = 1

MOST_SEGMENTS: Final = 4096
MOST_SECTIONS: Final = 1 << 20
MOST_DYNAMIC: Final = 1 << 16
MOST_VERSIONS: Final = 1 << 16
MOST_NEEDED: Final = 4096
LONGEST_STRING: Final = 1 << 16
MOST_TEXT: Final = 1 << 22
"""Bytes of all strings read of a file: tables may name the same long string any number of times."""

_EHDR: Final = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_PHDR: Final = {32: "IIIIIIII", 64: "IIQQQQQQ"}
_SHDR: Final = {32: "IIIIIIIIII", 64: "IIQQQQIIQQ"}
_DYN: Final = {32: "iI", 64: "qQ"}
_CHDR: Final = {32: "III", 64: "IIQQ"}


class ElfError(ValueError):
    """A table of an ELF file that is not where, or what, the file says."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    align: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section header, without its name."""

    name: int
    type: int
    flags: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class VersionNeed:
    """A symbol version that must be defined by the library `file`."""

    file: str
    version: str
    weak: bool


@dataclass(frozen=True, slots=True)
class Dynamic:
    """What the dynamic linker is told.

    Attributes:
        needed: names of libraries.
        soname: the library's own name, if it has one.
        rpath: search path, not split; `None` if there is no such entry.
        runpath: the same for `DT_RUNPATH`, which makes the linker ignore `rpath`.
        needs: symbol versions wanted from others.
        defines: symbol versions defined here.
    """

    needed: tuple[str, ...]
    soname: str | None
    rpath: str | None
    runpath: str | None
    needs: tuple[VersionNeed, ...]
    defines: frozenset[str]


class Elf:
    """An ELF file.  The constructor reads the header; everything else is read when asked for.

    Raises:
        ElfError: (constructor and attributes) the file is cut off or contradicts itself.
        OSError: reading failed.
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._text_left = MOST_TEXT
        head = blob.read(0, 64)
        if head[:4] != MAGIC or len(head) < 52 or head[4] not in {1, 2} or head[5] not in {1, 2}:
            raise ElfError("no valid identification")
        self.bits: Literal[32, 64] = 64 if head[4] == 2 else 32
        self.endianness: Literal["little", "big"] = "big" if head[5] == 2 else "little"
        self._order = ">" if head[5] == 2 else "<"
        if len(head) < 16 + struct.calcsize("<" + _EHDR[self.bits]):
            raise ElfError("the header is cut off")
        (
            self.type,
            self.machine,
            _version,
            _entry,
            self._phoff,
            self._shoff,
            self.flags,
            _ehsize,
            self._phentsize,
            self._phnum,
            self._shentsize,
            self._shnum,
            self._shstrndx,
        ) = struct.unpack_from(self._order + _EHDR[self.bits], head, 16)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Program headers in file order."""
        count = self._phnum
        if count == 0xFFFF and self._shoff:
            count = self._first_section()[7]
        if not count:
            return ()
        if count > MOST_SEGMENTS:
            raise ElfError(f"{count} program headers, at most {MOST_SEGMENTS} are read")
        rows = self._table("program headers", self._phoff, self._phentsize, count, _PHDR)
        if self.bits == 64:
            return tuple(
                Segment(kind, flags, offset, address, file_size, align)
                for kind, flags, offset, address, _, file_size, _, align in rows
            )
        return tuple(
            Segment(kind, flags, offset, address, file_size, align)
            for kind, offset, address, _, file_size, _, flags, align in rows
        )

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Section headers in file order, the empty first one included."""
        if not self._shoff:
            return ()
        count = self._shnum or self._first_section()[5]
        if not count:
            return ()
        if count > MOST_SECTIONS:
            raise ElfError(f"{count} section headers, at most {MOST_SECTIONS} are read")
        rows = self._table("section headers", self._shoff, self._shentsize, count, _SHDR)
        return tuple(
            Section(name, kind, flags, offset, size)
            for name, kind, flags, _, offset, size, _, _, _, _ in rows
        )

    def section_name(self, section: Section) -> str:
        """The name of a section; empty if the file has no names."""
        index = self._first_section()[6] if self._shstrndx == 0xFFFF else self._shstrndx
        if not 0 < index < len(self.sections):
            return ""
        names = self.sections[index]
        return self._string(names.offset, names.size, section.name)

    @cached_property
    def has_code(self) -> bool:
        """Whether anything in it can be executed."""
        if self.type in {ET_EXEC, ET_DYN}:
            return any(part.type == PT_LOAD and part.flags & PF_X for part in self.segments)
        return any(
            part.flags & SHF_EXECINSTR and part.size and part.type != SHT_NOBITS
            for part in self.sections
        )

    @cached_property
    def debug_only(self) -> bool:
        """Whether only debugging data is left of a program (`objcopy --only-keep-debug`)."""
        loaded = [part.type for part in self.sections if part.flags & SHF_ALLOC and part.size]
        return bool(loaded) and all(kind in {SHT_NOBITS, SHT_NOTE} for kind in loaded)

    @cached_property
    def interpreter(self) -> str | None:
        """The dynamic linker that a program asks for."""
        for part in self.segments:
            if part.type == PT_INTERP:
                if part.file_size > LONGEST_STRING:
                    raise ElfError("the interpreter's name is too long")
                data = self._blob.read(part.offset, part.file_size)
                if len(data) < part.file_size or not data.endswith(b"\0"):
                    raise ElfError("the interpreter's name is cut off")
                return _text(data[: data.index(b"\0")])
        return None

    @cached_property
    def dynamic(self) -> Dynamic | None:
        """The dynamic section, or `None` for what is not dynamically linked."""
        place = next((part for part in self.segments if part.type == PT_DYNAMIC), None)
        if place is None:
            return None
        form = self._order + _DYN[self.bits]
        count = min(place.file_size // struct.calcsize(form), MOST_DYNAMIC)
        data = self._blob.read(place.offset, count * struct.calcsize(form))
        if len(data) < count * struct.calcsize(form):
            raise ElfError("the dynamic section is cut off")
        values: dict[int, list[int]] = {}
        for tag, value in struct.iter_unpack(form, data):
            if tag == 0:
                break
            values.setdefault(tag, []).append(value)
        if len(values.get(DT_NEEDED, ())) > MOST_NEEDED:
            raise ElfError(f"more than {MOST_NEEDED} libraries are needed")

        def one(tag: int) -> int | None:
            return values[tag][0] if tag in values else None

        strings = one(DT_STRTAB)
        if strings is None:
            if DT_NEEDED in values:
                raise ElfError("the dynamic section has no strings")
            return Dynamic((), None, None, None, (), frozenset())
        table = self._offset(strings)
        size = one(DT_STRSZ) or 0

        def string(value: int) -> str:
            return self._string(table, size, value)

        def optional(tag: int) -> str | None:
            value = one(tag)
            return None if value is None else string(value)

        return Dynamic(
            needed=tuple(string(value) for value in values.get(DT_NEEDED, ())),
            soname=optional(DT_SONAME),
            rpath=optional(DT_RPATH),
            runpath=optional(DT_RUNPATH),
            needs=tuple(self._needs(table, size, one(DT_VERNEED), one(DT_VERNEEDNUM) or 0)),
            defines=frozenset(self._defines(table, size, one(DT_VERDEF), one(DT_VERDEFNUM) or 0)),
        )

    def read(self) -> None:
        """Read all that the dynamic linker would read, so that damage shows."""
        _ = self.interpreter, self.dynamic

    def arm_attributes(self) -> dict[int, int] | None:
        """Numeric build attributes of the whole file (`Tag_File`), or `None` without any."""
        for part in self.sections:
            if part.type == SHT_ARM_ATTRIBUTES:
                data = self._blob.read(part.offset, min(part.size, LONGEST_STRING))
                try:
                    return file_attributes(data, self.endianness)
                except AttributesError as error:
                    raise ElfError(str(error)) from error
        return None

    def compressed_sections(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Name, compression type, offset and size of the data, size when uncompressed."""
        form = self._order + _CHDR[self.bits]
        length = struct.calcsize(form)
        for part in self.sections:
            if part.flags & SHF_COMPRESSED and part.type != SHT_NOBITS:
                head = self._blob.read(part.offset, length)
                if len(head) < length or part.size < length:
                    raise ElfError("a compressed section is cut off")
                fields = struct.unpack(form, head)
                size = fields[2] if self.bits == 64 else fields[1]
                name = self.section_name(part)
                yield name, fields[0], part.offset + length, part.size - length, size

    def old_compressed_sections(self) -> Iterator[tuple[str, int, int]]:
        """Name, offset and size of `.zdebug_*` sections, which begin with `ZLIB` and a size."""
        for part in self.sections:
            if (
                part.size > 12
                and not part.flags
                and part.type == 1
                and self._blob.read(part.offset, 4) == b"ZLIB"
            ):
                yield self.section_name(part), part.offset, part.size

    def data(self) -> Iterator[tuple[int, int]]:
        """Offset and size of what is loaded and not executed, where files may be held.

        Sections that share their bytes, as no linker makes them, are left out.
        """
        left = self._blob.size
        for part in self.sections:
            if part.type == SHT_PROGBITS and part.flags & (SHF_ALLOC | SHF_EXECINSTR) == SHF_ALLOC:
                left -= part.size
                if left < 0:
                    return
                yield part.offset, part.size

    def _first_section(self) -> tuple[int, ...]:
        (row,) = self._table("section headers", self._shoff, self._shentsize, 1, _SHDR)
        return row

    def _table(
        self, what: str, offset: int, entry: int, count: int, forms: dict[int, str]
    ) -> Iterator[tuple[int, ...]]:
        form = self._order + forms[self.bits]
        if entry != struct.calcsize(form):
            raise ElfError(f"{what} of {entry} bytes each")
        data = self._blob.read(offset, entry * count)
        if len(data) < entry * count:
            raise ElfError(f"the {what} are cut off")
        return struct.iter_unpack(form, data)

    def _offset(self, address: int) -> int:
        for part in self.segments:
            if part.type == PT_LOAD and part.address <= address < part.address + part.file_size:
                return address - part.address + part.offset
        raise ElfError(f"address {address:#x} is in no segment")

    def _string(self, table: int, size: int, offset: int) -> str:
        if offset >= size:
            raise ElfError(f"string {offset:#x} is outside its table")
        step = 256
        while step <= LONGEST_STRING:
            data = self._blob.read(table + offset, min(size - offset, step))
            end = data.find(b"\0")
            if end >= 0:
                self._text_left -= end
                if self._text_left < 0:
                    raise ElfError(f"more than {MOST_TEXT} bytes of strings")
                return _text(data[:end])
            step *= 16
        raise ElfError(f"string {offset:#x} has no end")

    def _record(self, offset: int, form: str) -> tuple[int, ...]:
        data = self._blob.read(offset, struct.calcsize("<" + form))
        if len(data) < struct.calcsize("<" + form):
            raise ElfError("symbol versions are cut off")
        return struct.unpack(self._order + form, data)

    def _needs(
        self, table: int, size: int, address: int | None, count: int
    ) -> Iterator[VersionNeed]:
        if address is None:
            return
        left = MOST_VERSIONS
        offset = self._offset(address)
        for _ in range(count):
            _, versions, file, aux, following = self._record(offset, "HHIII")
            name = self._string(table, size, file)
            place = offset + aux
            for _ in range(versions):
                left -= 1
                if left < 0:
                    raise ElfError(f"more than {MOST_VERSIONS} symbol versions")
                _, flags, _, text, step = self._record(place, "IHHII")
                yield VersionNeed(name, self._string(table, size, text), bool(flags & VER_FLG_WEAK))
                if not step:
                    break
                place += step
            if not following:
                break
            offset += following

    def _defines(self, table: int, size: int, address: int | None, count: int) -> Iterator[str]:
        if address is None:
            return
        if count > MOST_VERSIONS:
            raise ElfError(f"more than {MOST_VERSIONS} symbol versions")
        offset = self._offset(address)
        for _ in range(count):
            _, _, _, names, _, aux, following = self._record(offset, "HHHHIII")
            if names:
                text, _ = self._record(offset + aux, "II")
                yield self._string(table, size, text)
            if not following:
                break
            offset += following


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
