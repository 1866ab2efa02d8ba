"""Gate: nothing in the result names a store path that a native result could not name.

Looked through are file names, link targets and all contents; `shim.gates.contents` brings what is
inside archives, compressed files and compressed debug sections.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from shim.gates.closure import Closure
from shim.gates.gate import Gate, Item, Report
from shim.gates.scan import DIGEST, Hit, Scanner
from shim.gates.subject import Subject
from shim.gates.tree import Entry

MOST_UNKNOWN: Final = 1 << 12
"""Store paths nobody has heard of that are told of one file; lists of all packages name many."""

_ENCODINGS: Final = {1: "", 2: " as UTF-16", 4: " as UTF-32"}


class References(Gate):
    """Reports each digest once per file, with the first place and the number of places."""

    name: ClassVar = "references"

    def __init__(self, subject: Subject, closure: Closure, report: Report) -> None:
        super().__init__(subject, closure, report)
        allowed = {path.digest for path in (*subject.allowed, *subject.outputs.values())}
        self._why = {
            digest: why for digest, why in subject.forbidden.items() if digest not in allowed
        }
        for path in subject.visible or ():
            if path.digest not in allowed:
                self._why.setdefault(path.digest, f"`{path.base}` is no native input")
        self._scanner = Scanner(self._why, subject.store_dir, allowed)

    def entry(self, entry: Entry) -> None:
        """Search the name and the target of a link."""
        if len(entry.name) >= DIGEST:
            name = entry.name.encode("utf-8", "surrogateescape")
            self._tell(entry.path, self._scanner.text(name), " in the name")
        if len(entry.target) >= DIGEST:
            target = entry.target.encode("utf-8", "surrogateescape")
            self._tell(entry.path, self._scanner.text(target), " in the link's target")

    def content(self, item: Item) -> None:
        """Search contents, unless they were searched as part of an archive."""
        if item.fresh:
            self._tell(item.path, self._scanner.blob(item.blob), "")

    def _tell(self, path: str, hits: Iterable[Hit], where: str) -> None:
        first: dict[str, Hit] = {}
        counts: dict[str, int] = {}
        for hit in hits:
            if len(first) >= MOST_UNKNOWN and hit.digest not in self._why:
                continue
            known = first.setdefault(hit.digest, hit)
            if hit.offset < known.offset:
                first[hit.digest] = hit
            counts[hit.digest] = counts.get(hit.digest, 0) + 1
        for digest, hit in first.items():
            times = f", {counts[digest]} times" if counts[digest] > 1 else ""
            what = f"`{digest}-{hit.name}`" if hit.name else f"`{digest}`"
            place = f"{what}{_ENCODINGS[hit.stride]}{where}{times}"
            offset = None if where else hit.offset
            if digest in self._why:
                self.report(
                    "references.forbidden", path, f"{place}: {self._why[digest]}", offset=offset
                )
            elif self.subject.visible is None:
                self.report("references.unknown", path, place, offset=offset)
            else:
                self.report("references.stray", path, place, offset=offset)
