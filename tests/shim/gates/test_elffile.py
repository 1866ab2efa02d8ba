import dataclasses
import struct
import zlib
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection

from shim.gates.blob import Blob
from shim.gates.elffile import Elf
from tests.support.elf import ET_REL, ElfSpec, SectionSpec


def test_the_reader_agrees_with_pyelftools_on_this_machine_s_libraries() -> None:
    files = sorted(
        path
        for pattern in ("/usr/bin/*", "/usr/lib/*-linux-gnu/lib[a-m]*.so.*")
        for path in Path("/").glob(pattern[1:])
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 4 << 20
    )[:300]
    compared = 0
    for path in files:
        data = path.read_bytes()
        if not data.startswith(b"\x7fELF"):
            continue
        mine = Elf(Blob(data))
        with path.open("rb") as stream:
            theirs = ELFFile(stream)
            assert theirs.header.e_machine in {mine.machine, "EM_X86_64"}
            assert len(mine.sections) == theirs.num_sections()
            assert len(mine.segments) == theirs.num_segments()
            dynamic = next(
                (part for part in theirs.iter_sections() if isinstance(part, DynamicSection)), None
            )
            if dynamic is None:
                continue
            table = mine.dynamic
            assert table is not None
            assert list(table.needed) == [
                getattr(tag, "needed", None)
                for tag in dynamic.iter_tags()
                if tag.entry.d_tag == "DT_NEEDED"
            ]
            needs = [
                (need.name, aux.name)
                for part in theirs.iter_sections()
                if isinstance(part, GNUVerNeedSection)
                for need, auxes in part.iter_versions()
                for aux in auxes
            ]
            assert [(need.file, need.version) for need in table.needs] == needs
            defines = {
                next(iter(auxes)).name
                for part in theirs.iter_sections()
                if isinstance(part, GNUVerDefSection)
                for _, auxes in part.iter_versions()
            }
            assert table.defines == defines
            compared += 1
    assert compared > 50


def test_compressed_sections_are_told_with_their_sizes() -> None:
    text = b"path " * 100
    packed = struct.pack("<IIQQ", 1, 0, len(text), 1) + zlib.compress(text)
    section = SectionSpec(".debug_str", packed, 1, 0x800)
    elf = Elf(Blob(dataclasses.replace(ElfSpec(type=ET_REL), sections=[section]).build()))
    ((name, kind, _, _, size),) = elf.compressed_sections()
    assert (name, kind, size) == (".debug_str", 1, len(text))
