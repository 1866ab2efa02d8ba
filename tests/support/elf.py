"""Small ELF files written to order, for any machine, without its toolchain."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

ET_REL, ET_EXEC, ET_DYN = 1, 2, 3


@dataclass
class SectionSpec:
    name: str
    data: bytes
    type: int = 1
    flags: int = 0


@dataclass
class ElfSpec:
    """What to put into the file; the defaults make an AArch64 shared library with code."""

    machine: int = 183
    bits: int = 64
    endianness: str = "little"
    type: int = ET_DYN
    flags: int = 0
    interpreter: str | None = None
    needed: Sequence[str] = ()
    soname: str | None = None
    rpath: str | None = None
    runpath: str | None = None
    needs: Sequence[tuple[str, str, bool]] = ()
    """(library, version, weak)"""
    defines: Sequence[str] = ()
    align: int = 0x10000
    sections: Sequence[SectionSpec] = field(default_factory=list)
    code: bool = True

    def build(self) -> bytes:
        return _Builder(self).build()


def arm_attributes(**values: int) -> SectionSpec:
    """`.ARM.attributes` from `tag6=10`-like arguments."""
    pairs = b"".join(bytes((int(name[3:]), value)) for name, value in values.items())
    body = b"\x01" + struct.pack("<I", len(pairs) + 5) + pairs
    vendor = b"aeabi\0"
    data = b"A" + struct.pack("<I", 4 + len(vendor) + len(body)) + vendor + body
    return SectionSpec(".ARM.attributes", data, 0x70000003)


class _Builder:
    def __init__(self, spec: ElfSpec) -> None:
        self.spec = spec
        self.order = "<" if spec.endianness == "little" else ">"
        self.wide = spec.bits == 64
        self.strings = b"\0"

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)

    def string(self, text: str) -> int:
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def needs(self) -> bytes:
        files: dict[str, list[tuple[str, bool]]] = {}
        for file, version, weak in self.spec.needs:
            files.setdefault(file, []).append((version, weak))
        data = b""
        for number, (file, versions) in enumerate(files.items(), 1):
            size = 16 + 16 * len(versions)
            following = 0 if number == len(files) else size
            data += self.pack("HHIII", 1, len(versions), self.string(file), 16, following)
            for index, (version, weak) in enumerate(versions, 1):
                step = 0 if index == len(versions) else 16
                data += self.pack("IHHII", 0, 2 * weak, 2, self.string(version), step)
        return data

    def defines(self) -> bytes:
        data = b""
        for number, version in enumerate(self.spec.defines, 1):
            following = 0 if number == len(self.spec.defines) else 28
            data += self.pack("HHHHIII", 1, number == 1, number, 1, 0, 20, following)
            data += self.pack("II", self.string(version), 0)
        return data

    def build(self) -> bytes:
        spec = self.spec
        header = 64 if self.wide else 52
        entry = 56 if self.wide else 32
        dynamic = spec.type == ET_DYN or bool(spec.needed)
        count = 0 if spec.type == ET_REL else 1 + bool(spec.interpreter) + dynamic
        body = header + entry * count
        data = b""
        interpreter = body, 0
        if spec.interpreter:
            data = spec.interpreter.encode() + b"\0"
            interpreter = body, len(data)
        tags = [(1, self.string(name)) for name in spec.needed]
        for tag, text in ((14, spec.soname), (15, spec.rpath), (29, spec.runpath)):
            if text is not None:
                tags.append((tag, self.string(text)))
        needs, defines = self.needs(), self.defines()
        if needs:
            tags += [
                (0x6FFFFFFE, body + len(data)),
                (0x6FFFFFFF, len({file for file, _, _ in spec.needs})),
            ]
            data += needs
        if defines:
            tags += [(0x6FFFFFFC, body + len(data)), (0x6FFFFFFD, len(spec.defines))]
            data += defines
        tags += [(5, body + len(data)), (10, len(self.strings)), (0, 0)]
        data += self.strings
        place = body + len(data)
        table = b"".join(self.pack("qQ" if self.wide else "iI", *pair) for pair in tags)
        data += table
        data += b"\x90" * 16
        sections = [SectionSpec("", b"", 0), *spec.sections]
        if spec.code:
            sections.append(SectionSpec(".text", b"\x90" * 8, 1, 6))
        names = b"".join(section.name.encode() + b"\0" for section in sections) + b".shstrtab\0"
        sections.append(SectionSpec(".shstrtab", names, 3))
        rows, name = b"", 0
        for section in sections:
            offset = body + len(data)
            data += section.data
            fields = (name, section.type, section.flags, 0, offset, len(section.data), 0, 0, 1, 0)
            rows += self.pack("IIQQQQIIQQ" if self.wide else "IIIIIIIIII", *fields)
            name += len(section.name.encode()) + 1
        shoff = body + len(data)
        total = shoff + len(rows)
        programs = b""
        if count:
            programs = self.segment(1, 5 if spec.code else 4, 0, total, spec.align)
            if spec.interpreter:
                programs += self.segment(3, 4, *interpreter, 1)
            if dynamic:
                programs += self.segment(2, 6, place, len(table), 8)
        ident = b"\x7fELF" + bytes((1 + self.wide, 1 + (self.order == ">"), 1)) + bytes(9)
        head = ident + self.pack(
            "HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH",
            *(spec.type, spec.machine, 1, 0, header if count else 0, shoff, spec.flags, header),
            *(entry, count, 64 if self.wide else 40, len(sections), len(sections) - 1),
        )
        return head + programs + data + rows

    def segment(self, kind: int, flags: int, offset: int, size: int, align: int) -> bytes:
        if self.wide:
            return self.pack("IIQQQQQQ", kind, flags, offset, offset, offset, size, size, align)
        return self.pack("IIIIIIII", kind, offset, offset, offset, size, size, flags, align)
