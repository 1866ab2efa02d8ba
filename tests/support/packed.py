"""Archives and compressed files with given contents, in every format the gates look into."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping

import zstandard

from tests.support.elf import ET_REL, ElfSpec, SectionSpec


def ar(files: Mapping[str, bytes]) -> bytes:
    """GNU ar: names of 16 bytes and more stand in a table."""
    table = b""
    body = b""
    for name, data in files.items():
        if len(name) > 15:
            field = f"/{len(table)}"
            table += f"{name}/\n".encode()
        else:
            field = f"{name}/"
        body += _ar_head(field, len(data)) + data + b"\n" * (len(data) % 2)
    names = _ar_head("//", len(table)) + table + b"\n" * (len(table) % 2) if table else b""
    return b"!<arch>\n" + names + body


def _ar_head(name: str, size: int) -> bytes:
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{size:<10}`\n".encode()


def cpio_new(files: Mapping[str, bytes]) -> bytes:
    body = b""
    for name, data in {**files, "TRAILER!!!": b""}.items():
        numbers = (0, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        body += b"070701" + "".join(f"{number:08x}" for number in numbers).encode()
        body += name.encode() + b"\0"
        body += bytes(-len(body) % 4) + data
        body += bytes(-len(body) % 4)
    return body


def cpio_old(files: Mapping[str, bytes]) -> bytes:
    body = b""
    for name, data in {**files, "TRAILER!!!": b""}.items():
        body += b"070707" + "".join(f"{n:06o}" for n in (0, 0, 0o100644, 0, 0, 1, 0)).encode()
        body += f"{0:011o}{len(name) + 1:06o}{len(data):011o}".encode()
        body += name.encode() + b"\0" + data
    return body


def tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def section(data: bytes, kind: int = 1) -> bytes:
    """An AArch64 object with `data` in a compressed debug section: 1 zlib, 2 zstd."""
    packed = zlib.compress(data) if kind == 1 else zstandard.compress(data)
    head = struct.pack("<IIQQ", kind, 0, len(data), 1)
    return ElfSpec(
        type=ET_REL, sections=[SectionSpec(".debug_str", head + packed, 1, 0x800)]
    ).build()


def old_section(data: bytes) -> bytes:
    packed = b"ZLIB" + struct.pack(">Q", len(data)) + zlib.compress(data)
    return ElfSpec(type=ET_REL, sections=[SectionSpec(".zdebug_str", packed)]).build()


COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
    "zip": lambda data: zipped({"member": data}),
    "zip-bzip2": lambda data: zipped({"member": data}, zipfile.ZIP_BZIP2),
    "elf": section,
    "elf-zstd": lambda data: section(data, 2),
    "elf-old": old_section,
}
"""Formats that hide their contents from a search of the file."""

STORED: Mapping[str, Callable[[bytes], bytes]] = {
    "ar": lambda data: ar({"member.o": data}),
    "ar-long": lambda data: ar({"a": b"odd", "a-member-with-a-long-name.o": data}),
    "cpio": lambda data: cpio_new({"first": b"x", "member": data}),
    "cpio-old": lambda data: cpio_old({"first": b"x", "member": data}),
    "tar": lambda data: tar({"first": b"x", "m" * 120: data}),
    "zip-stored": lambda data: zipped({"member": data}, zipfile.ZIP_STORED),
}
"""Formats that hold their contents as they are."""
