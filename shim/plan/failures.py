"""Why a way to an output failed: classes, the symptoms that tell them, and advice.  No I/O.

A class is found from what a nix-daemon answered, what the gates found and what the build said last.
`docs/builds.md` shows the table to operators; a test holds both to each other.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.store.build_result import BuildResult, BuildStatus
from shim.gates.verdict import Severity, Verdict


class Kind(StrEnum):
    """The classes."""

    NOT_CROSS_AWARE = "not-cross-aware"
    FOREIGN_PROGRAM = "foreign-program"
    WRONG_ARCH = "wrong-arch"
    FOREIGN_REFERENCE = "foreign-reference"
    MISSING_OUTPUT = "missing-output"
    TESTS = "tests"
    MEMORY = "memory"
    DISK = "disk"
    TIME_OUT = "time-out"
    INPUT = "input"
    DOWNLOAD = "download"
    HASH = "hash"
    DAEMON = "daemon"
    TOOLCHAIN = "toolchain"
    HOST = "host"
    UNKNOWN = "unknown"


class Lasting(StrEnum):
    """Whether the same request would fail again."""

    PERMANENT = "permanent"
    """Until the recipe, the table or the shim changes."""
    TRANSIENT = "transient"
    """It was the circumstances; asking again may help."""
    WRONG_HOST = "wrong-host"
    """This machine cannot; another one may."""


@dataclass(frozen=True, slots=True)
class Class:
    """What a class means."""

    lasting: Lasting
    meaning: str
    advice: str


_DECLINE: Final = "leave it to emulation (a rule with cross = false), or mend its cross recipe"

CLASSES: Final = {
    Kind.NOT_CROSS_AWARE: Class(
        Lasting.PERMANENT, "the package's build system refuses to be cross-compiled", _DECLINE
    ),
    Kind.FOREIGN_PROGRAM: Class(
        Lasting.PERMANENT,
        "the build ran a program of the target, which plants cannot",
        _DECLINE,
    ),
    Kind.WRONG_ARCH: Class(
        Lasting.PERMANENT, "code for another machine was linked or installed", _DECLINE
    ),
    Kind.FOREIGN_REFERENCE: Class(
        Lasting.PERMANENT,
        "the result refers to the cross set, the build platform or nothing that exists",
        "see `nix-shim show`: find out which input brings it in; the pair may be wrong",
    ),
    Kind.MISSING_OUTPUT: Class(
        Lasting.PERMANENT,
        "the cross recipe does not make every output of the native one",
        "leave it to emulation, or mend its cross recipe",
    ),
    Kind.TESTS: Class(
        Lasting.PERMANENT,
        "the package's own tests failed",
        "see `nix log`; tests that depend on time or load may pass on a quiet machine",
    ),
    Kind.MEMORY: Class(
        Lasting.TRANSIENT,
        "memory ran out",
        "lower limits.builds or limits.cores, raise limits.memory, or add memory",
    ),
    Kind.DISK: Class(
        Lasting.TRANSIENT,
        "a disk is full",
        "collect garbage in the store and look at its build directory; raise limits.disk",
    ),
    Kind.TIME_OUT: Class(
        Lasting.TRANSIENT,
        "it took, or was silent, for longer than allowed",
        "raise deadlines.build-silence, or the nix-daemon's timeout and max-silent-time",
    ),
    Kind.INPUT: Class(
        Lasting.TRANSIENT,
        "something that it needs could not be had",
        "see what became of the input named",
    ),
    Kind.DOWNLOAD: Class(
        Lasting.TRANSIENT,
        "what its hash fixes could not be fetched",
        "is it still at its address, and does the nix-daemon's network (proxy, names) lead there?",
    ),
    Kind.HASH: Class(
        Lasting.PERMANENT,
        "what was fetched has another hash than its derivation says",
        "it has changed at its address: the package set has to name the new hash, or another place",
    ),
    Kind.DAEMON: Class(
        Lasting.TRANSIENT, "a nix-daemon went away or refused", "ask again; see our log for why"
    ),
    Kind.TOOLCHAIN: Class(
        Lasting.PERMANENT,
        "native and cross toolchain are not interchangeable",
        "make the table anew from one revision of the package set",
    ),
    Kind.HOST: Class(
        Lasting.WRONG_HOST,
        "no strategy can make it on this machine",
        "`nix-shim doctor` says what is missing here",
    ),
    Kind.UNKNOWN: Class(
        Lasting.PERMANENT, "no symptom that we know", "see `nix log` and `nix-shim show`"
    ),
}
"""What each class means; the order is that of the documentation."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """A line of a log or message that tells a class."""

    kind: Kind
    pattern: re.Pattern[str]


def _symptom(kind: Kind, *patterns: str) -> Symptom:
    return Symptom(kind, re.compile("|".join(patterns)))


SYMPTOMS: Final = (
    _symptom(Kind.DISK, r"No space left on device", r"Disk quota exceeded", r"disk is full"),
    _symptom(
        Kind.MEMORY,
        r"virtual memory exhausted",
        r"[Cc]annot allocate memory",
        r"[Oo]ut of memory",
        r"std::bad_alloc",
        r"Killed signal terminated program",
        r"signal 9 \(Killed\)",
        r"\bMemoryError\b",
    ),
    _symptom(
        Kind.TIME_OUT, r"timed out after \d+ seconds", r"was silent for", r"timed out after silence"
    ),
    _symptom(
        Kind.NOT_CROSS_AWARE,
        r"cannot run (C|C\+\+|Fortran|test) (compiled )?programs?",
        r"cannot run test program while cross[ -]compiling",
        r"[Ii]f you meant to cross compile",
        r"[Cc]an(no|')t .*when cross[ -]compil",
        r"[Cc]ross[ -]compil\w+ (is|are) (not|un)\s?supported",
        r"TRY_RUN\(\) invoked in cross-compiling mode",
        r"[Cc]an not run test applications in this cross environment",
        r"[Nn]eeds? an? exe(cutable)? ?wrapper",
    ),
    _symptom(
        Kind.FOREIGN_PROGRAM,
        r"[Ee]xec format error",
        r"cannot execute binary file",
        r"cannot execute: required file not found",
        r"\bENOEXEC\b",
    ),
    _symptom(
        Kind.WRONG_ARCH,
        r"file in wrong format",
        r"file format not recognized",
        r"skipping incompatible .* when searching for",
        r"wrong ELF class",
        r"is incompatible with .* output",
        r"unrecognized command[- ]line option .?-m(arch|cpu|fpu|tune|64|32|sse|avx|float-abi)",
        r"(unknown|unsupported) (target CPU|architecture|instruction set)",
    ),
    _symptom(
        Kind.FOREIGN_REFERENCE,
        r"is not allowed to refer to",
        r"not allowed to have .*references",
        r"output check for '.*' failed",
        r"contains an illegal reference",
    ),
    _symptom(Kind.MISSING_OUTPUT, r"failed to produce output"),
    _symptom(Kind.HASH, r"hash mismatch in fixed-output derivation"),
    _symptom(
        Kind.DOWNLOAD,
        r"\bcurl: \(\d+\)",
        r"\bwget: ",
        r"[Uu]nable to download",
        r"cannot download .* from any mirror",
        r"[Cc]ould( not|n't) resolve host",
    ),
    _symptom(
        Kind.TESTS,
        r"\*\*\* \[[^]]*\b(check|test)(-\w+)?\] Error",
        r"^\s*(FAILED|FAIL): ",
        r"\d+ (tests?|checks?) failed",
        r"The following tests FAILED",
    ),
)
"""Looked for from the last line of a log backwards; within a line the first row wins."""

RULES: Final = (
    ("outputs.", Kind.MISSING_OUTPUT),
    ("elf.", Kind.WRONG_ARCH),
    ("scripts.foreign", Kind.WRONG_ARCH),
    ("references.", Kind.FOREIGN_REFERENCE),
    ("loading.", Kind.FOREIGN_REFERENCE),
    ("scripts.", Kind.FOREIGN_REFERENCE),
    ("leaks.", Kind.FOREIGN_REFERENCE),
)
"""Beginning of the id of the gates' worst finding -> class."""

STATUSES: Final = {
    BuildStatus.TIMED_OUT: Kind.TIME_OUT,
    BuildStatus.DEPENDENCY_FAILED: Kind.INPUT,
    BuildStatus.NO_SUBSTITUTERS: Kind.INPUT,
}
"""Statuses that say it all."""

CHECK_PHASES: Final = frozenset({"checkPhase", "installCheckPhase"})
"""Phases of nixpkgs' stdenv in which nothing but tests can fail."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed way."""

    kind: Kind
    reason: str
    """What went wrong, in a line."""

    @property
    def lasting(self) -> Lasting:
        """Whether the same would fail again."""
        return CLASSES[self.kind].lasting

    @property
    def advice(self) -> str:
        """What a person can do."""
        return CLASSES[self.kind].advice

    def __str__(self) -> str:
        """The reason and its class, for clients."""
        return f"{self.reason} ({self.kind}, {self.lasting})"


class StepFailed(Exception):
    """A strategy did not lead to the outputs; the next one is tried."""

    def __init__(
        self,
        reason: str,
        kind: Kind | None = None,
        *,
        result: BuildResult | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """See the class.

        Args:
            reason: what went wrong.
            kind: its class, where whoever raises this knows it.
            result: the nix-daemon's, if it built and failed.
            verdict: the gates', if it came to them.
        """
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.result = result
        self.verdict = verdict


def classify(
    failed: StepFailed, said: Sequence[str], phase: str, *, fixed: bool = False
) -> Failure:
    """The class of a failure.

    Args:
        failed: what is known of it.
        said: the last lines of the build's log, oldest first.
        phase: the phase of the build that it told of last, or nothing.
        fixed: whether its hash decides what it is; to nix-daemons the failures of those are
            transient, since they have the network (Nix: `DerivationGoal::buildDone`).
    """
    return Failure(_kind(failed, said, phase, fixed), failed.reason)


def _kind(failed: StepFailed, said: Sequence[str], phase: str, fixed: bool) -> Kind:
    if failed.kind is not None:
        return failed.kind
    if failed.verdict is not None:
        return _by_finding(failed.verdict)
    if failed.result is not None and failed.result.status in STATUSES:
        return STATUSES[failed.result.status]
    found = _by_symptom((*said, *failed.reason.splitlines()))
    if phase in CHECK_PHASES and found not in _CIRCUMSTANCES:
        return Kind.TESTS
    if found is None and failed.result is not None and _is_transient(failed.result):
        return Kind.DOWNLOAD if fixed else Kind.DAEMON
    return found or Kind.UNKNOWN


_CIRCUMSTANCES: Final = {Kind.DISK, Kind.MEMORY, Kind.TIME_OUT, Kind.FOREIGN_PROGRAM}
"""What a failure in the tests is rather called by."""


def _is_transient(result: BuildResult) -> bool:
    return result.status is BuildStatus.TRANSIENT_FAILURE


def _by_finding(verdict: Verdict) -> Kind:
    for finding in verdict.findings:
        if finding.severity is not Severity.ERROR:
            continue
        for beginning, kind in RULES:
            if finding.rule.startswith(beginning):
                return kind
    return Kind.UNKNOWN


def _by_symptom(lines: Iterable[str]) -> Kind | None:
    for line in reversed(list(lines)):
        for symptom in SYMPTOMS:
            if symptom.pattern.search(line):
                return symptom.kind
    return None


RESULTS: Final = {
    Lasting.TRANSIENT: BuildStatus.TRANSIENT_FAILURE,
    Lasting.PERMANENT: BuildStatus.PERMANENT_FAILURE,
    Lasting.WRONG_HOST: BuildStatus.MISC_FAILURE,
}
"""Status told to clients when the last way failed without one of Nix's own."""


def status(last: StepFailed, failure: Failure) -> BuildStatus:
    """The status of a request whose `last` way failed like that."""
    if failure.kind is Kind.TIME_OUT:
        return BuildStatus.TIMED_OUT
    if failure.lasting is Lasting.TRANSIENT:
        return BuildStatus.TRANSIENT_FAILURE
    return last.result.status if last.result is not None else RESULTS[failure.lasting]
