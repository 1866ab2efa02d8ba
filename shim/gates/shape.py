"""Gate: the tree looks like one that a working build leaves.

Links lead somewhere, generated files have contents, programs can be executed, and modes are those
that Nix stores.
"""

import re
from collections import Counter
from fnmatch import translate
from typing import ClassVar, Final

from shim.gates.closure import Closure, Outcome
from shim.gates.gate import Gate, Item, Report
from shim.gates.subject import Subject
from shim.gates.tree import Entry, Kind

MODES: Final = {Kind.FILE: frozenset({0o444, 0o555}), Kind.DIRECTORY: frozenset({0o555})}
"""What Nix makes of all permissions (`canonicalisePathMetaData`)."""

GENERATED: Final = (
    "*/share/man/*",
    "*/share/info/*",
    "*/share/bash-completion/*",
    "*/share/zsh/*",
    "*/share/fish/*",
    "*.typelib",
    "*.gir",
    "*.vapi",
    "*.pc",
    "*.mo",
    "*.so",
    "*.so.*",
    "*/gschemas.compiled",
    "*/loaders.cache",
    "*/icon-theme.cache",
    "*/mime.cache",
    "*/bin/*",
    "*/sbin/*",
)
"""Patterns over `<output>/<path>`: files written by a program, empty where it could not run."""

PROGRAMS: Final = re.compile(r"[^/]+/(?:s?bin)/[^/]+")
"""`<output>/bin/x`: what is meant to be run."""


class Shape(Gate):
    """Looks at entries only, and at the first bytes of what should be a program."""

    name: ClassVar = "shape"

    def __init__(self, subject: Subject, closure: Closure, report: Report) -> None:
        super().__init__(subject, closure, report)
        self._generated = re.compile("|".join(translate(text) for text in GENERATED)).match
        self._empty: Counter[str] = Counter()

    def entry(self, entry: Entry) -> None:
        """Look at a directory entry."""
        match entry.kind:
            case Kind.LINK:
                self._judge_link(entry)
            case Kind.OTHER:
                self.report("shape.kind", entry.path, "a device, pipe or socket")
            case _:
                if entry.mode not in MODES[entry.kind]:
                    self.report("shape.mode", entry.path, f"mode {entry.mode:04o}")
        if entry.kind is Kind.FILE and not entry.size:
            if self._generated(entry.path) or not entry.inside:
                self.report("shape.empty", entry.path, "no contents")
            else:
                self._empty[entry.output] += 1

    def content(self, item: Item) -> None:
        """Look at what lies where programs lie."""
        if item.depth or item.executable or not PROGRAMS.fullmatch(item.path):
            return
        if item.is_elf or item.head.startswith(b"#!"):
            self.report("shape.not-executable", item.path, "the executable bit is not set")

    def end(self) -> None:
        """Tell how many files are empty for no apparent reason."""
        for output, count in sorted(self._empty.items()):
            self.report("shape.empty-files", output, f"{count} empty files")

    def _judge_link(self, entry: Entry) -> None:
        folder = self.subject.outputs[entry.output]
        if not entry.inside:
            start = self.subject.store_dir
        else:
            start = f"{folder}/{entry.inside}".rpartition("/")[0]
        target = entry.target if entry.target.startswith("/") else f"{start}/{entry.target}"
        found = self.closure.resolve(target)
        if found.outcome is Outcome.MISSING:
            self.report("shape.dangling", entry.path, f"to `{entry.target}`")
        elif found.outcome is Outcome.LOOP:
            self.report("shape.loop", entry.path, f"to `{entry.target}`")
