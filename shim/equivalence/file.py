"""Equivalence tables on disk: self-contained, checked, and mapped instead of read.

    magic      12 bytes, `nix-shim tbl`
    version    4 bytes, little-endian
    header     4 bytes length, then a msgpack map: `store_dir`, `provenance`, `toolchains`,
               `sections` (name -> offset from the end of the header, length)
    sections   those of `shim.equivalence.rows`, and `unpaired` (zstd of msgpack)
    checksum   32 bytes, SHA-256 of everything before

The version counts changes that an older reader cannot cope with; such a file is refused.  Loading
checks the sum over the whole file, which costs less than decoding a tenth of it.
"""

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final, overload

import zstandard

from protocol.store.path import STORE_DIR, StorePath
from shim.equivalence.grades import Role
from shim.equivalence.rows import LEVEL, StoredRows, encode, expand, pack, unpack
from shim.equivalence.table import Entry, InputPair, Provenance, Table, Toolchain, Unpaired
from shim.errors import ExitCode, ShimError

MAGIC: Final = b"nix-shim tbl"
VERSION: Final = 1
_SUM: Final = hashlib.sha256().digest_size
_FIXED: Final = len(MAGIC) + 8


class UnusableTable(ShimError):
    """A file that is no equivalence table, is damaged, or is of a newer format."""

    def __init__(
        self, path: Path, why: str, hint: str = "make it again with `nix-shim table`"
    ) -> None:
        super().__init__(f"cannot use table: `{path}`: {why}", hint=hint, code=ExitCode.DATA)


def save(table: Table, path: Path) -> None:
    """Write `table` to `path`, wholly or not at all.

    Raises:
        OSError: the folder of `path` cannot be written to.
    """
    data = dump(table)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def dump(table: Table) -> bytes:
    """The bytes of a table's file; the same for equal tables."""
    entries = list(table)
    store_dir = entries[0].native.store_dir if entries else STORE_DIR
    sections = encode(entries, store_dir)
    unpaired = pack([(one.path, one.native, one.reason) for one in table.unpaired])
    sections["unpaired"] = zstandard.ZstdCompressor(level=LEVEL).compress(unpaired)
    places, offset = {}, 0
    for name, section in sections.items():
        places[name] = (offset, len(section))
        offset += len(section)
    provenance = {name: getattr(table.provenance, name) for name in Provenance.__dataclass_fields__}
    header = pack(
        {
            "store_dir": store_dir,
            "provenance": provenance,
            "toolchains": [_put_toolchain(one) for one in table.toolchains],
            "sections": places,
        }
    )
    numbers = VERSION.to_bytes(4, "little") + len(header).to_bytes(4, "little")
    content = b"".join((MAGIC, numbers, header, *sections.values()))
    return content + hashlib.sha256(content).digest()


def load(path: Path) -> Table:
    """The table in the file at `path`.  The file stays mapped; replacing it does no harm.

    Raises:
        UnusableTable: it cannot be read, is no table, is damaged, or is of a newer format.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) if size else b""
    except OSError as error:
        raise UnusableTable(path, error.strerror or str(error)) from error
    return _parse(memoryview(mapped), path)


def _parse(data: memoryview, path: Path) -> Table:
    if len(data) < _FIXED + _SUM or bytes(data[: len(MAGIC)]) != MAGIC:
        raise UnusableTable(path, "it is not an equivalence table")
    version = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    if version > VERSION:
        raise UnusableTable(
            path,
            f"its format is version {version}, and this program knows up to {VERSION}",
            hint="use a newer nix-shim, or make the table again with this one",
        )
    if hashlib.sha256(data[:-_SUM]).digest() != data[-_SUM:]:
        raise UnusableTable(path, "it is damaged: its checksum does not match")
    try:
        start = _FIXED + int.from_bytes(data[len(MAGIC) + 4 : _FIXED], "little")
        header = unpack(data[_FIXED:start])
        sections = {
            name: data[start + offset : start + offset + length]
            for name, (offset, length) in header["sections"].items()
        }
        return Table(
            StoredRows(sections, header["store_dir"]),
            provenance=_get_provenance(header["provenance"]),
            toolchains=tuple(map(_get_toolchain, header["toolchains"])),
            unpaired=_StoredUnpaired(sections["unpaired"]),
        )
    except (KeyError, TypeError, ValueError, zstandard.ZstdError) as error:
        raise UnusableTable(path, f"it was not written by nix-shim: {error!r}") from error


def verify(table: Table, path: Path) -> None:
    """Decode everything in a table that was loaded from `path`.

    Raises:
        UnusableTable: something in it cannot be decoded.
    """
    try:
        for entry in table:
            if table.rows.find(entry.native) == () or not all(_decoded(entry)):
                raise UnusableTable(path, f"its index does not know `{entry.native}`")
        len(table.unpaired)
    except (KeyError, IndexError, TypeError, ValueError, zstandard.ZstdError) as error:
        raise UnusableTable(path, f"it was not written by nix-shim: {error!r}") from error


def _decoded(entry: Entry) -> Iterator[bool]:
    """Whether each field that is decoded on demand can be."""
    for name in Entry.__dataclass_fields__:
        yield getattr(entry, name) is not None


def _get_provenance(stored: Mapping[str, Any]) -> Provenance:
    known = {name: stored[name] for name in Provenance.__dataclass_fields__ if name in stored}
    known["roots"] = tuple((StorePath(one), StorePath(two)) for one, two in known.get("roots", ()))
    return Provenance(**known)


def _put_toolchain(one: Toolchain) -> dict[str, Any]:
    return {
        "native": one.native,
        "cross": one.cross,
        "triple": one.triple,
        "native_compiler": one.native_compiler,
        "cross_compiler": one.cross_compiler,
        "libraries": [(a.slot, a.native, a.cross, a.role, a.reason) for a in one.libraries],
        "reason": one.reason,
    }


def _get_toolchain(stored: Mapping[str, Any]) -> Toolchain:
    def path(text: str | None) -> StorePath | None:
        return None if text is None else StorePath(text)

    return Toolchain(
        native=StorePath(stored["native"]),
        cross=StorePath(stored["cross"]),
        triple=stored["triple"],
        native_compiler=path(stored["native_compiler"]),
        cross_compiler=path(stored["cross_compiler"]),
        libraries=tuple(
            InputPair(slot, StorePath(native), StorePath(cross), Role(role), reason)
            for slot, native, cross, role, reason in stored["libraries"]
        ),
        reason=stored["reason"],
    )


class _StoredUnpaired(Sequence[Unpaired]):
    """Seldom asked for and possibly long, so unpacked when it is."""

    def __init__(self, section: memoryview) -> None:
        self._section = section

    @cached_property
    def _rows(self) -> list[Unpaired]:
        rows = unpack(expand(self._section))
        return [Unpaired(StorePath(path), native, reason) for path, native, reason in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Unpaired: ...

    @overload
    def __getitem__(self, index: slice) -> list[Unpaired]: ...

    def __getitem__(self, index: int | slice) -> Unpaired | list[Unpaired]:
        return self._rows[index]
