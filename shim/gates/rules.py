"""The rules: every kind of finding with its weight and its advice, in one table.

A gate names the rule, the place and the value; what that weighs, and what to do about it, is said
here, and may be changed per package by an `Override`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final

from shim.gates.verdict import Severity

NOTE, WARNING, ERROR = Severity.NOTE, Severity.WARNING, Severity.ERROR


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of finding.

    Attributes:
        severity: its weight where no override applies.
        title: what is wrong, for the list of rules.
        advice: what a person can do.
    """

    severity: Severity
    title: str
    advice: str


@dataclass(frozen=True, slots=True)
class Override:
    """Another severity for some rules in some places.  Patterns are shell patterns over all text.

    Attributes:
        rule: pattern over rule ids, such as `elf.*`.
        severity: what such a finding weighs there.
        reason: why, in one clause; shown with the finding.
        name: pattern over the derivation's name.
        path: pattern over `<output>/<path in it>`; `*` matches slashes too.
    """

    rule: str
    severity: Severity
    reason: str
    name: str = "*"
    path: str = "*"
    _patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        patterns = (re.compile(translate(text)) for text in (self.rule, self.name, self.path))
        object.__setattr__(self, "_patterns", tuple(patterns))

    def applies(self, rule: str, name: str, path: str) -> bool:
        """Whether this speaks about a finding of `rule` at `path` of the package `name`."""
        texts = (rule, name, path)
        return all(pattern.match(text) for pattern, text in zip(self._patterns, texts, strict=True))


CRASHED: Final = "gate.crashed"
"""The rule that nothing overrides: what no gate could look at is not proved fit."""

_DECLINE: Final = "leave the package to emulation, or mend its cross recipe"
_REPORT: Final = "this is a defect of nix-shim: please report it with the package's name"
_TABLE: Final = "check the equivalence table's entry: the pair may be wrong"

RULES: Final[Mapping[str, Rule]] = {
    CRASHED: Rule(ERROR, "a gate failed by itself", _REPORT),
    # outputs
    "outputs.missing": Rule(ERROR, "an output was not made", _DECLINE),
    "outputs.extra": Rule(ERROR, "an output that nobody asked for", _TABLE),
    "outputs.name": Rule(ERROR, "an output path has another package's name", _TABLE),
    "outputs.empty": Rule(ERROR, "an output is a directory with nothing in it", _DECLINE),
    # references
    "references.forbidden": Rule(
        ERROR,
        "the result refers to the cross set, the build platform or the plant",
        "find out which input brings it in; a kept tool may need a graft",
    ),
    "references.unknown": Rule(
        ERROR,
        "the result refers to a store path outside the native input closure",
        "find out which input brings it in, or allow it for this package",
    ),
    "references.stray": Rule(
        NOTE, "a store path in the text that the build could not see", "nothing: it is sample text"
    ),
    # elf
    "elf.malformed": Rule(ERROR, "an ELF file whose tables cannot be read", _DECLINE),
    "elf.machine": Rule(ERROR, "an ELF file for another machine", _DECLINE),
    "elf.class": Rule(ERROR, "an ELF file of the wrong word size", _DECLINE),
    "elf.endianness": Rule(ERROR, "an ELF file of the wrong byte order", _DECLINE),
    "elf.flags": Rule(ERROR, "an ELF file of another ABI", _DECLINE),
    "elf.float-abi": Rule(ERROR, "an ELF file that passes floats in another way", _DECLINE),
    "elf.cpu-arch": Rule(
        ERROR, "an ELF file for processors newer than the platform's least", _DECLINE
    ),
    "elf.page-size": Rule(
        ERROR,
        "segments aligned to less than a page: no kernel of the platform can load them",
        _DECLINE,
    ),
    "elf.small-pages": Rule(
        NOTE,
        "segments aligned to less than the largest page size of the platform's kernels",
        "nothing on kernels with small pages",
    ),
    "elf.no-machine": Rule(NOTE, "an ELF object that belongs to no machine", "nothing"),
    # contents
    "contents.damaged": Rule(
        NOTE,
        "an archive or compressed file that cannot be read to its end",
        "nothing if on purpose",
    ),
    "contents.limit": Rule(
        ERROR,
        "contents larger, deeper or more densely compressed than the gates are willing to unpack",
        "raise the limit named, or leave the package to emulation",
    ),
    "contents.opaque": Rule(
        WARNING, "a container that the gates cannot look into", "look into it by hand"
    ),
    # loading
    "loading.interpreter": Rule(
        ERROR, "a program whose dynamic linker does not exist on the target", _DECLINE
    ),
    "loading.needed": Rule(ERROR, "a library that is needed and found nowhere", _DECLINE),
    "loading.needed-later": Rule(
        NOTE,
        "a library found only when a program of the same package has loaded it before",
        "nothing if it is a plug-in",
    ),
    "loading.version": Rule(
        ERROR, "a symbol version that the native library does not define", _DECLINE
    ),
    "loading.unversioned": Rule(
        WARNING,
        "a library without the symbol versions that were there when linking",
        "compare the cross library with the native one: they were built in different ways",
    ),
    "loading.version-weak": Rule(NOTE, "an optional symbol version is absent", "nothing"),
    "loading.runpath-cross": Rule(
        ERROR, "a library search path that exists only in a cross toolchain", _DECLINE
    ),
    "loading.runpath-missing": Rule(
        NOTE, "a library search path that does not exist", "nothing if every library is found"
    ),
    "loading.runpath-build": Rule(
        ERROR, "a library search path in the build folder, which anyone may create", _DECLINE
    ),
    "loading.runpath-outside": Rule(
        WARNING, "a library search path outside the store", "compare with the native package"
    ),
    # scripts
    "scripts.missing": Rule(ERROR, "a script whose interpreter does not exist", _DECLINE),
    "scripts.not-allowed": Rule(
        ERROR, "a script whose interpreter is outside the native input closure", _DECLINE
    ),
    "scripts.foreign": Rule(
        ERROR, "a script whose interpreter is a program for another machine", _DECLINE
    ),
    "scripts.loop": Rule(ERROR, "a script whose interpreters lead to no program", _DECLINE),
    "scripts.unpatched": Rule(
        NOTE,
        "scripts that use an interpreter outside the store",
        "compare with the native package: patchShebangs may not have run",
    ),
    "scripts.relative": Rule(
        WARNING,
        "a script whose interpreter has no absolute path",
        "compare with the native package",
    ),
    # leaks
    "leaks.build-triple": Rule(
        WARNING,
        "installed configuration names the build machine's platform",
        "programs that read it on the target may look for the wrong compiler",
    ),
    "leaks.tool-prefix": Rule(
        WARNING,
        "installed configuration names cross tools by their prefix",
        "the target has them without prefix: packages built there against it may fail",
    ),
    "leaks.build-folder": Rule(
        ERROR,
        "a program, script or link that points into the sandbox's build folder",
        "the package installs something before relinking or rewriting it",
    ),
    "leaks.build-folder-text": Rule(
        NOTE, "the sandbox's build folder is named in contents", "nothing: native builds do so too"
    ),
    # shape
    "shape.mode": Rule(
        ERROR, "permissions that Nix does not store", "the plant store is damaged: check its disk"
    ),
    "shape.kind": Rule(
        ERROR, "neither file, directory nor link", "the plant store is damaged: check its disk"
    ),
    "shape.not-executable": Rule(
        WARNING, "a program that is not executable", "compare with the native package"
    ),
    "shape.dangling": Rule(
        WARNING, "a link to something that does not exist", "compare with the native package"
    ),
    "shape.loop": Rule(WARNING, "a link that leads back to itself", _DECLINE),
    "shape.empty": Rule(
        WARNING,
        "an empty file where a generator should have written something",
        "a tool that could not run in the cross build may have made it",
    ),
    "shape.empty-files": Rule(NOTE, "empty files", "nothing"),
    # repairs
    "repair.reference": Rule(
        WARNING, "a build tool's path was replaced by its native counterpart", "nothing"
    ),
    "repair.debuglink": Rule(WARNING, "the checksum of a debug file was put right", "nothing"),
}
"""Rule id -> rule.  The part before the dot is the gate."""
