"""What is inside contents: archives, compressed files and compressed sections, as further items.

The formats are a table; what cannot be looked into is told, never passed over in silence.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Final

from shim.gates import archives, embedded, unpack
from shim.gates.archives import Member
from shim.gates.blob import Blob
from shim.gates.elffile import ElfError
from shim.gates.gate import Item
from shim.gates.settings import LimitError
from shim.gates.unpack import Budget, DamagedError, TooManyError, Unpacker, unpacked

Opener = Callable[[Item, Budget], Iterator[Item]]


class OpaqueError(Exception):
    """Contents of a known format that cannot be looked into."""


def inside(item: Item, budget: Budget) -> Iterator[Item]:
    """The items directly inside `item`; none for what is no container.

    Each is good only until the next is asked for.

    Raises:
        DamagedError: the container does not follow its format (after what could be read).
        LimitError: it may not be looked into any further.
        OpaqueError: it cannot be looked into.
    """
    opener = _opener(item)
    if budget.spent:
        return
    if item.depth >= budget.limits.depth:
        if opener is None:
            return
        raise LimitError(f"more than {budget.limits.depth} containers in each other (`depth`)")
    for inner in opener(item, budget) if opener else _embedded(item, budget):
        budget.entry()
        yield inner


def is_container(item: Item) -> bool:
    """Whether `item` is of a format that the table knows, ELF included."""
    return _opener(item) is not None


def _item(outer: Item, blob: Blob, name: str, *, fresh: bool, held: bool = False) -> Item:
    return Item(
        outer.entry,
        blob,
        f"{outer.path}!{name}",
        outer.depth + 1,
        executable=False,
        fresh=fresh,
        held=held or outer.held,
    )


def _stream(unpacker: Unpacker, label: str, item: Item, budget: Budget) -> Iterator[Item]:
    with unpacked(item.blob, unpacker, budget) as found:
        yield _item(item, found.blob, label, fresh=True)
    rest = item.blob.part(found.used, item.blob.size - found.used)
    if found.damage is None and rest.read(0, 4096).strip(b"\0"):
        yield _item(item, rest, f"(behind {label})", fresh=False)
    if found.damage is not None:
        raise DamagedError(found.damage)


def _archive(
    members: Callable[[Blob], Iterator[Member]], item: Item, _budget: Budget
) -> Iterator[Item]:
    for member in members(item.blob):
        yield _item(item, item.blob.part(member.offset, member.size), member.name, fresh=False)


_ZIP_METHODS: Final[dict[int, Unpacker]] = {
    8: unpack.DEFLATE,
    12: unpack.BZIP2,
    93: unpack.ZSTD,
    95: unpack.XZ,
}


def _zip(item: Item, budget: Budget) -> Iterator[Item]:
    unreadable: set[str] = set()
    damaged: str | None = None
    for member in archives.zip_members(item.blob):
        blob = item.blob.part(member.offset, member.size)
        unpacker = _ZIP_METHODS.get(member.method)
        if member.method == 0:
            yield _item(item, blob, member.name, fresh=False)
        elif unpacker is None:
            unreadable.add("encrypted" if member.method < 0 else f"method {member.method}")
        else:
            with unpacked(blob, unpacker, budget) as found:
                yield _item(item, found.blob, member.name, fresh=True)
            damaged = damaged or found.damage
    if damaged:
        raise DamagedError(damaged)
    if unreadable:
        raise OpaqueError(f"members of a zip file: {', '.join(sorted(unreadable))}")


_SECTION_METHODS: Final[dict[int, Unpacker]] = {1: unpack.ZLIB, 2: unpack.ZSTD}


def _elf(item: Item, budget: Budget) -> Iterator[Item]:
    try:
        elf = item.elf
        sections = [
            (name, _SECTION_METHODS.get(kind), offset, size)
            for name, kind, offset, size, _ in elf.compressed_sections()
        ]
        sections += [
            (name, unpack.ZLIB, offset + 12, size - 12)
            for name, offset, size in elf.old_compressed_sections()
        ]
    except ElfError:
        return  # the ELF gate tells
    for name, unpacker, offset, size in sections:
        if unpacker is None:
            raise OpaqueError(f"section `{name}` is compressed in an unknown way")
        with unpacked(item.blob.part(offset, size), unpacker, budget) as found:
            yield _item(item, found.blob, name, fresh=True)
        if found.damage is not None:
            raise DamagedError(f"section `{name}`: {found.damage}")
    for offset, size in elf.data():
        yield from _embedded(item, budget, offset, size)


def _embedded(
    item: Item, budget: Budget, start: int = 0, size: int | None = None
) -> Iterator[Item]:
    """What is compressed in the middle of contents, or of a part of them."""
    blob = item.blob if size is None else item.blob.part(start, size)
    try:
        for name, offset, found in embedded.streams(blob, budget):
            yield _item(item, found.blob, f"{name}@{start + offset:#x}", fresh=True, held=True)
    except TooManyError as error:
        raise OpaqueError(str(error)) from error


def _opaque(what: str, _item: Item, _budget: Budget) -> Iterator[Item]:
    raise OpaqueError(what)


FORMATS: Final[tuple[tuple[int, bytes, Opener], ...]] = (
    (0, b"\x7fELF", _elf),
    (0, b"\x1f\x8b\x08", functools.partial(_stream, unpack.GZIP, "gzip")),
    (0, b"\xfd7zXZ\0", functools.partial(_stream, unpack.XZ, "xz")),
    (0, b"BZh", functools.partial(_stream, unpack.BZIP2, "bzip2")),
    (0, b"\x28\xb5\x2f\xfd", functools.partial(_stream, unpack.ZSTD, "zstd")),
    (0, b"PK\x03\x04", _zip),
    (0, b"PK\x05\x06", _zip),
    (0, b"!<arch>\n", functools.partial(_archive, archives.ar)),
    (0, b"070701", functools.partial(_archive, archives.cpio_new)),
    (0, b"070702", functools.partial(_archive, archives.cpio_new)),
    (0, b"070707", functools.partial(_archive, archives.cpio_old)),
    (257, b"ustar", functools.partial(_archive, archives.tar)),
    (0, b"hsqs", functools.partial(_opaque, "a squashfs image")),
    (0, b"7z\xbc\xaf\x27\x1c", functools.partial(_opaque, "a 7z archive")),
    (0, b"\x04\x22\x4d\x18", functools.partial(_opaque, "lz4 data")),
    (0, b"LZIP", functools.partial(_opaque, "lzip data")),
    (0, b"\x89LZO\0", functools.partial(_opaque, "lzop data")),
    (0, b"Rar!\x1a\x07", functools.partial(_opaque, "a rar archive")),
    (0, b"MSCF\0\0\0\0", functools.partial(_opaque, "a cabinet")),
)
"""Offset of the magic, the magic, and what opens it; the first that matches decides."""


def _by_first_byte() -> dict[int, list[tuple[bytes, Opener]]]:
    table: dict[int, list[tuple[bytes, Opener]]] = {}
    for offset, magic, opener in FORMATS:
        if offset == 0:
            table.setdefault(magic[0], []).append((magic, opener))
    return table


_FIRST: Final = _by_first_byte()
_LATER: Final = tuple(row for row in FORMATS if row[0])


def _opener(item: Item) -> Opener | None:
    head = item.head
    if not head:
        return None
    for magic, opener in _FIRST.get(head[0], ()):
        if head.startswith(magic):
            return opener
    for offset, magic, opener in _LATER:
        if head.startswith(magic, offset):
            return opener
    if head.startswith(b"#!") and archives.has_zip_end(item.blob):
        return _zip
    return None
