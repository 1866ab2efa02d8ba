"""Gate: programs and libraries will find, on the target, all that they need to be loaded.

What glibc's dynamic linker does is followed by logical names inside the native closure: the program
interpreter, `DT_NEEDED` along `DT_RPATH` or `DT_RUNPATH` and the loader's own directory, and symbol
versions.  Single symbols are not resolved.  Members of archives are not loaded from there, so only
files are judged.  Source: ld.so(8) and glibc's `elf/dl-load.c` and `elf/dl-version.c`.
"""

import os
from dataclasses import dataclass, field
from typing import ClassVar, Final

from shim.gates.blob import Blob
from shim.gates.closure import Closure, Outcome, Resolved
from shim.gates.elf import ELSEWHERE
from shim.gates.elffile import ET_DYN, ET_EXEC, Dynamic, Elf, ElfError
from shim.gates.gate import Gate, Item, Report
from shim.gates.settings import LimitError
from shim.gates.subject import Subject

MOST_WAITING: Final = 100_000
"""Libraries that were not found, of all files together, until the judgement gives up."""

SHOWN: Final = 20
"""Folders that a finding lists."""

_ORIGINS: Final = ("$ORIGIN", "${ORIGIN}")


@dataclass(frozen=True, slots=True)
class _Library:
    """A file that a name led to.

    Attributes:
        defines: symbol versions in it.
        fits: whether it is a library for the target.
    """

    defines: frozenset[str]
    fits: bool


@dataclass(slots=True)
class _Waiting:
    """A library needed that was not on the path; another of the package may have loaded it."""

    path: str
    name: str
    searched: list[str] = field(default_factory=list)


class Loading(Gate):
    """Follows each dynamically linked file as the target's dynamic linker would."""

    name: ClassVar = "loading"

    def __init__(self, subject: Subject, closure: Closure, report: Report) -> None:
        super().__init__(subject, closure, report)
        self._libraries: dict[str, _Library | None] = {}
        self._defaults: list[str] = []
        self._sonames: set[str] = set()
        self._own = tuple(f"{path}/" for path in subject.outputs.values())
        self._waiting: list[_Waiting] = []

    def begin(self) -> None:
        """Find the C libraries of the closure: their loaders search their own directory last."""
        for path in self.closure.paths():
            folder = f"{path}/lib"
            if self.closure.resolve(f"{folder}/{self.subject.system.loader}").outcome is (
                Outcome.FOUND
            ):
                self._defaults.append(folder)

    def content(self, item: Item) -> None:
        """Look at a dynamically linked file for the target, or pass by what is none."""
        if item.depth or not item.is_elf:
            return
        try:
            self._judge(item, item.elf)
        except ElfError:
            return  # the ELF gate tells

    def end(self) -> None:
        """Decide about libraries that were not found: plug-ins rely on their program's."""
        for waiting in self._waiting:
            some = ", ".join(f"`{folder}`" for folder in waiting.searched[:SHOWN]) or "no folder"
            more = len(waiting.searched) - SHOWN
            searched = f"{some} and {more} more" if more > 0 else some
            rule = "loading.needed-later" if waiting.name in self._sonames else "loading.needed"
            self.report(rule, waiting.path, f"needs `{waiting.name}`, searched in {searched}")

    def _judge(self, item: Item, elf: Elf) -> None:
        wanted = self.subject.system.elf
        if (elf.machine, elf.bits) != (wanted.machine, wanted.bits) or elf.machine in ELSEWHERE:
            return
        if elf.type not in {ET_EXEC, ET_DYN} or elf.debug_only:
            return
        interpreter = elf.interpreter
        if interpreter is not None:
            self._judge_interpreter(item, interpreter)
        dynamic = elf.dynamic
        if dynamic is None:
            return
        self._sonames.add(dynamic.soname or item.entry.name)
        path = f"{self.subject.outputs[item.entry.output]}/{item.entry.inside}"
        origin = path.rpartition("/")[0]
        folders = self._folders(item, dynamic, origin)
        found = {name: self._find(item, name, folders, origin) for name in dynamic.needed}
        for need in dynamic.needs:
            library = found.get(need.file)
            if library is None or not library.fits:
                continue
            if not library.defines:
                self.report("loading.unversioned", item.path, f"`{need.file}` has no versions")
            elif need.version not in library.defines:
                rule = "loading.version-weak" if need.weak else "loading.version"
                self.report(rule, item.path, f"needs `{need.version}` of `{need.file}`")

    def _judge_interpreter(self, item: Item, interpreter: str) -> None:
        found = self.closure.resolve(interpreter)
        if found.outcome is not Outcome.FOUND:
            self.report("loading.interpreter", item.path, f"`{interpreter}`: {_why(found)}")
            return
        library = self._read(found)
        if library is None or not library.fits:
            self.report(
                "loading.interpreter", item.path, f"`{interpreter}` is no program for the target"
            )

    def _folders(self, item: Item, dynamic: Dynamic, origin: str) -> list[str]:
        """The folders searched, in order; reports those that should not be there."""
        text = dynamic.rpath if dynamic.runpath is None else dynamic.runpath
        folders = []
        for written in (text or "").split(":") if text else ():
            folder = written
            for origin_name in _ORIGINS:
                folder = folder.replace(origin_name, origin)
            folders.append(folder)
            self._judge_folder(item, written, folder)
        return [*folders, *self._defaults]

    def _judge_folder(self, item: Item, written: str, folder: str) -> None:
        build = self.subject.build_dir
        if folder == build or folder.startswith(f"{build}/"):
            self.report("loading.runpath-build", item.path, f"searches `{written}`")
            return
        if not folder.startswith(f"{self.subject.store_dir}/"):
            self.report("loading.runpath-outside", item.path, f"searches `{written}`")
            return
        found = self.closure.resolve(folder)
        if found.outcome in {Outcome.FOUND, Outcome.ABSENT}:
            return
        triples = {*self.subject.system.triples, *self.subject.build_system.triples}
        own = f"{folder}/".startswith(self._own)
        if found.outcome is Outcome.DENIED or (not own and triples.intersection(folder.split("/"))):
            self.report("loading.runpath-cross", item.path, f"searches `{written}`: {_why(found)}")
        else:
            self.report("loading.runpath-missing", item.path, f"searches `{written}`")

    def _find(self, item: Item, name: str, folders: list[str], origin: str) -> _Library | None:
        if "/" in name:
            for origin_name in _ORIGINS:
                name = name.replace(origin_name, origin)
            candidates = [name]
        else:
            candidates = [f"{folder}/{name}" for folder in folders if folder.startswith("/")]
        unknown = False
        for candidate in candidates:
            found = self.closure.resolve(candidate)
            if found.outcome is Outcome.FOUND:
                library = self._read(found)
                if library is not None and library.fits:
                    return library
            unknown = unknown or found.outcome is Outcome.ABSENT
        if not unknown:
            if len(self._waiting) >= MOST_WAITING:
                raise LimitError(f"more than {MOST_WAITING} libraries are found nowhere")
            self._waiting.append(_Waiting(item.path, name, folders))
        return None

    def _read(self, found: Resolved) -> _Library | None:
        """What a file is as a library; `None` if it is no readable ELF file."""
        if found.physical in self._libraries:
            return self._libraries[found.physical]
        library = None
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(found.physical, flags)
        try:
            elf = Elf(Blob.of_file(descriptor, os.fstat(descriptor).st_size))
            dynamic = elf.dynamic
            wanted = self.subject.system.elf
            fits = (elf.machine, elf.bits) == (wanted.machine, wanted.bits)
            if elf.type == ET_DYN or fits:
                library = _Library(dynamic.defines if dynamic else frozenset(), fits)
        except (ElfError, OSError):
            library = None
        finally:
            os.close(descriptor)
        self._libraries[found.physical] = library
        return library


_REASONS: Final = {
    Outcome.MISSING: "there is no such file",
    Outcome.LOOP: "its links lead in a circle",
    Outcome.OUTSIDE: "it is outside the store",
    Outcome.DENIED: "it is outside the native input closure",
    Outcome.ABSENT: "its store path is not on this machine",
    Outcome.FOUND: "it is there",
}


def _why(found: Resolved) -> str:
    return _REASONS[found.outcome]
