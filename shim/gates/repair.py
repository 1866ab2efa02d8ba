"""Repairs: a copy of a rejected result in which build tools' paths are their native counterparts'.

Done only where it is provably right: the whole `<digest>-<name>` of a build tool is replaced by
that of the same tool for the target, which is in the native input closure and has a name of the
same length, so that nothing moves.  It is replaced in names, in links and in contents known to
carry no checksum of themselves: text, ELF files without a signature, Python's compiled files.
Of what depends on contents elsewhere, the checksum in `.gnu_debuglink` is put right; where another
file states any other checksum of one that would change, nothing is repaired.  The order of
directories and the NAR's hash follow from packing the copy anew.  The copy must pass the gates
again, and every change is a finding.
"""

import os
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from protocol.store.path import StorePath
from shim.gates.blob import Blob
from shim.gates.contents import is_container
from shim.gates.elffile import Elf, ElfError
from shim.gates.gate import Item
from shim.gates.manifests import digests, states
from shim.gates.scan import Scanner
from shim.gates.subject import Subject
from shim.gates.tree import Entry, Kind, walk

DEBUGLINK: Final = ".gnu_debuglink"

SIGNED: Final = b"~Module signature appended~\n"
"""The end of a signed kernel module (Linux `include/linux/module_signature.h`)."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was put right.

    Attributes:
        rule: `repair.reference` or `repair.debuglink`.
        path: `<output>/<path in it>`, as it is now called.
        message: what stood there and what stands there now.
        offset: of the first change in the file; `None` for names and links.
    """

    rule: str
    path: str
    message: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Repaired:
    """A repaired copy.

    Attributes:
        subject: the same result, its files under the copy's root.
        changes: all that differs from the original; never empty.
    """

    subject: Subject
    changes: tuple[Change, ...]


def repair(
    subject: Subject, counterparts: Mapping[StorePath, StorePath], into: Path
) -> Repaired | None:
    """Copy a result with build tools' paths replaced.

    Args:
        subject: the result that was rejected; it is not changed.
        counterparts: build tool's output -> the native tool's output.
        into: an empty directory for the copy: a physical root of its own.

    Returns:
        The copy, or `None` when there is nothing to replace, or no way to do it that is right for
        certain (`into` may then hold part of a copy).

    Raises:
        OSError: reading or writing failed.
    """
    allowed = {*subject.allowed, *subject.outputs.values()}
    usable = {
        old.digest: (old, new)
        for old, new in counterparts.items()
        if len(old.base) == len(new.base) and new in allowed and old not in allowed
    }
    if not usable:
        return None
    copy = replace(subject, root=into, closure_roots=(subject.root, *subject.closure_roots))
    try:
        changes = tuple(_Copier(subject, copy, usable).run())
    except _NotProvableError:
        return None
    return Repaired(copy, changes) if changes else None


class _NotProvableError(Exception):
    """A change that would make something else wrong."""


class _Copier:
    def __init__(
        self, subject: Subject, copy: Subject, usable: Mapping[str, tuple[StorePath, StorePath]]
    ) -> None:
        self._subject = subject
        self._copy = copy
        self._usable = usable
        self._scanner = Scanner(usable, subject.store_dir, usable)
        self._sums: dict[bytes, list[tuple[int, int]]] = {}
        """Name of a changed ELF file -> its checksum before and after."""
        self._stated: set[bytes] = set()
        """Digests that changed files had before."""

    def run(self) -> Iterator[Change]:
        for output, path in self._subject.outputs.items():
            top = self._subject.physical(path)
            if os.path.lexists(top):
                yield from self._output(output, top, self._copy.physical(path))
        if self._stated:
            for output, path in self._subject.outputs.items():
                top = self._copy.physical(path)
                if os.path.lexists(top):
                    yield from self._depending(output, top)

    def _output(self, output: str, top: Path, target: Path) -> Iterator[Change]:
        target.parent.mkdir(parents=True, exist_ok=True)
        folders = []
        for entry in walk(output, top):
            inside, renamed = self._text(entry.inside)
            place = target / inside if inside else target
            path = f"{output}/{inside}" if inside else output
            # A folder's new name is reported with the folder, not with all that is in it.
            if renamed and self._text(entry.name)[1]:
                if os.path.lexists(place):
                    raise _NotProvableError
                yield Change("repair.reference", path, f"was called `{entry.path}`")
            if entry.kind is Kind.DIRECTORY:
                place.mkdir()
                folders.append((place, entry.mode))
            elif entry.kind is Kind.LINK:
                link, changed = self._text(entry.target)
                place.symlink_to(link)
                if changed:
                    yield Change("repair.reference", path, f"linked to `{entry.target}`")
            elif entry.kind is Kind.FILE:
                yield from self._file(entry, place, path)
        for place, mode in reversed(folders):
            place.chmod(mode)

    def _text(self, text: str) -> tuple[str, bool]:
        """A name or link target with all replacements made."""
        changed = text
        for old, new in self._usable.values():
            changed = changed.replace(old.base, new.base)
        return changed, changed != text

    def _file(self, entry: Entry, place: Path, path: str) -> Iterator[Change]:
        with Path(entry.physical).open("rb") as source:
            blob = Blob.of_file(source.fileno(), entry.size)
            item = Item(entry, blob, entry.path, executable=entry.executable)
            found = list(self._places(blob)) if _is_changeable(item) else []
            if not found:
                _link(entry.physical, place)
                return
            shutil.copyfile(entry.physical, place)
            with place.open("r+b") as target:
                for offset, _, new in found:
                    os.pwrite(target.fileno(), new.base.encode(), offset)
            place.chmod(entry.mode)
            self._stated |= digests(Path(entry.physical))
            if item.is_elf:
                sums = _checksum(entry.physical), _checksum(place)
                self._sums.setdefault(os.fsencode(place.name), []).append(sums)
        for old, new in sorted({(old, new) for _, old, new in found}):
            first = min(offset for offset, this, _ in found if this == old)
            yield Change(
                "repair.reference", path, f"`{old.base}` is now `{new.base}`", offset=first
            )

    def _places(self, blob: Blob) -> Iterator[tuple[int, StorePath, StorePath]]:
        for hit in self._scanner.blob(blob):
            if hit.digest not in self._usable:
                continue
            old, new = self._usable[hit.digest]
            base = old.base.encode()
            if hit.stride == 1 and blob.read(hit.offset, len(base)) == base:
                yield hit.offset, old, new

    def _depending(self, output: str, top: Path) -> Iterator[Change]:
        """Put right what depends on changed contents, where that is known how to do."""
        stated = frozenset(self._stated)
        for entry in walk(output, top):
            if entry.kind is not Kind.FILE:
                continue
            with Path(entry.physical).open("rb") as file:
                blob = Blob.of_file(file.fileno(), entry.size)
                if states(blob, stated):
                    raise _NotProvableError
                found = self._debug_link(blob)
            if found is None:
                continue
            offset, name, new = found
            _unshare(entry)
            with Path(entry.physical).open("r+b") as file:
                os.pwrite(file.fileno(), new, offset)
            Path(entry.physical).chmod(entry.mode)
            yield Change(
                "repair.debuglink",
                entry.path,
                f"checksum of `{os.fsdecode(name)}` put right",
                offset=offset,
            )

    def _debug_link(self, blob: Blob) -> tuple[int, bytes, bytes] | None:
        """Place, file name and new checksum of a link to a changed debug file."""
        try:
            elf = Elf(blob)
            for section in elf.sections:
                if elf.section_name(section) != DEBUGLINK or section.size > 4096:
                    continue
                data = blob.read(section.offset, section.size)
                name = data.partition(b"\0")[0]
                place = -(-(len(name) + 1) // 4) * 4
                old = int.from_bytes(data[place : place + 4], elf.endianness)
                for before, after in self._sums.get(name, ()):
                    if old == before and before != after:
                        new = after.to_bytes(4, elf.endianness)
                        return section.offset + place, name, new
        except ElfError:
            pass  # the ELF gate tells
        return None


def _is_changeable(item: Item) -> bool:
    """Whether contents are of a kind that carries no checksum of itself."""
    if item.is_elf:
        return item.blob.read(item.blob.size - len(SIGNED), len(SIGNED)) != SIGNED
    if item.head[2:4] == b"\r\n" and item.entry.name.endswith(".pyc"):
        return not item.head[4] & 1
    return not is_container(item) and all(
        b"\0" not in chunk.data[chunk.start : chunk.stop] for chunk in item.blob.chunks()
    )


def _checksum(path: str | Path) -> int:
    """The CRC-32 that debuggers compare with the one in `.gnu_debuglink`."""
    value = 0
    with Path(path).open("rb") as file:
        while data := file.read(1 << 20):
            value = zlib.crc32(data, value)
    return value


def _link(source: str, target: Path) -> None:
    """The same file in two places if the file system can do that, otherwise a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)


def _unshare(entry: Entry) -> None:
    """Make a file the copy's own, so that writing it does not touch the original."""
    own = Path(f"{entry.physical}.own")
    mode = own.parent.stat().st_mode
    own.parent.chmod(mode | stat.S_IWUSR)
    shutil.copyfile(entry.physical, own)
    own.replace(entry.physical)
    own.parent.chmod(mode)
