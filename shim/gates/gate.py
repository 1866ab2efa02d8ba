"""What a gate is: something that looks at a result in one respect and reports what it sees.

A gate never decides alone what its findings weigh; `Report` looks that up.  It may keep state
between calls, all of which concern one result.
"""

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Final

from shim.gates.blob import Blob
from shim.gates.closure import Closure
from shim.gates.elffile import MAGIC, Elf
from shim.gates.rules import CRASHED, RULES
from shim.gates.settings import Settings
from shim.gates.subject import Subject
from shim.gates.tree import Entry
from shim.gates.verdict import Finding, Severity, Verdict

HEAD: Final = 512
"""Bytes at the beginning of each content that tell what it is (tar's magic is at 257)."""


_RANKS: Final = {rule: rank for rank, rule in enumerate(RULES)}
"""Causes come before what follows from them: `RULES` lists them in that order."""


class Item:
    """A file's contents, or those of a member of an archive or compressed file.

    Attributes:
        entry: the file, also for what is inside it.
        path: as findings name it: members behind `!`.
        blob: the contents.
        head: their first 512 bytes.
        depth: 0 for a file, 1 for what is directly inside, and so on.
        executable: whether it is a file with the executable bit.
        fresh: whether its bytes occur only here: not so for what an archive just stores.
        held: whether it lies in the middle of a file that is something else, for whose own use it
            is: programs carry others, for machines of all kinds, as data.
    """

    def __init__(
        self,
        entry: Entry,
        blob: Blob,
        path: str,
        depth: int = 0,
        *,
        executable: bool,
        fresh: bool = True,
        held: bool = False,
    ) -> None:
        self.entry = entry
        self.blob = blob
        self.path = path
        self.depth = depth
        self.executable = executable
        self.fresh = fresh
        self.held = held
        self.head = blob.read(0, HEAD)

    @property
    def is_elf(self) -> bool:
        """Whether it begins as ELF files do."""
        return self.head.startswith(MAGIC)

    @cached_property
    def elf(self) -> Elf:
        """The contents as an ELF file; raises `ElfError` when they are none."""
        return Elf(self.blob)


class Report:
    """Collects findings and gives each its weight."""

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self._subject = subject
        self._settings = settings
        self._findings: list[Finding] = []
        self._counts: Counter[tuple[str, Severity]] = Counter()
        self.files = 0
        self.examined = 0

    def add(self, rule: str, path: str, message: str, *, offset: int | None = None) -> None:
        """Record a finding of `rule` at `path` (empty: the result as a whole)."""
        known = RULES[rule]
        severity = known.severity
        for override in reversed(self._settings.overrides):
            if rule != CRASHED and override.applies(rule, self._subject.name, path):
                severity = override.severity
                message = f"{message} ({override.reason})"
                break
        self._counts[rule, severity] += 1
        if self._counts[rule, severity] <= self._settings.limits.findings:
            self._findings.append(Finding(rule, severity, path, offset, message, known.advice))

    def verdict(self) -> Verdict:
        """What all of it amounts to."""
        findings = list(self._findings)
        for (rule, severity), count in self._counts.items():
            if (more := count - self._settings.limits.findings) > 0:
                findings.append(
                    Finding(rule, severity, "", None, f"{more} more like it", RULES[rule].advice)
                )
        findings.sort(
            key=lambda found: (-found.severity, _RANKS[found.rule], not found.path, found.path)
        )
        accepted = all(found.severity < Severity.ERROR for found in findings)
        return Verdict(accepted, tuple(findings), self.files, self.examined)


class Gate:
    """Base of all gates: looks at nothing."""

    name: ClassVar[str]
    """The part before the dot in the rules it reports."""

    def __init__(self, subject: Subject, closure: Closure, report: Report) -> None:
        self.subject = subject
        self.closure = closure
        self.report: Callable[..., None] = report.add

    def begin(self) -> None:
        """Called once, before any file is looked at."""

    def entry(self, entry: Entry) -> None:
        """Called for every directory entry."""

    def content(self, item: Item) -> None:
        """Called for the contents of every file, and of every member in it."""

    def end(self) -> None:
        """Called once, after everything else."""
