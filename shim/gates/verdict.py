"""What a judgement says: findings, and whether the result may be imported.  Values only."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    """How much a finding weighs; a result with an `ERROR` is not imported."""

    NOTE = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a gate saw.

    Attributes:
        rule: id such as `elf.machine`; `shim.gates.rules` describes it.
        severity: after the settings' overrides for this package.
        path: where: `<output>/<path in it>`, members behind `!`; the output's name alone, or empty
            when the finding is about the result as a whole.
        offset: byte in the file or (uncompressed) member, if the finding has a place.
        message: what was found, with the value in backticks.
        advice: what a person can do about it.
    """

    rule: str
    severity: Severity
    path: str
    offset: int | None
    message: str
    advice: str

    def as_json(self) -> dict[str, Any]:
        """The fields under their names, severity in lower case."""
        return {
            "rule": self.rule,
            "severity": self.severity.name.lower(),
            "path": self.path,
            "offset": self.offset,
            "message": self.message,
            "advice": self.advice,
        }

    def __str__(self) -> str:
        """Read `error elf.machine out/bin/pigz: message`, with `+0x..` behind the path."""
        place = self.path if self.offset is None else f"{self.path}+{self.offset:#x}"
        return f"{self.severity.name.lower()} {self.rule} {place or '(result)'}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one planted result.

    Attributes:
        accepted: nothing found weighs as much as an error.
        findings: worst first, then causes before consequences, then by path.
        files: directory entries and members looked at.
        examined: bytes of content looked at, members counted uncompressed.
        seconds: that it took by the clock.
    """

    accepted: bool
    findings: tuple[Finding, ...]
    files: int
    examined: int
    seconds: float = field(default=0.0, compare=False)

    @property
    def worst(self) -> Severity | None:
        """The greatest severity among the findings, or `None` for a clean result."""
        return max((finding.severity for finding in self.findings), default=None)

    def summary(self) -> str:
        """One line for a client's log: outcome, counts, and the finding that decided it."""
        counts = Counter(finding.severity for finding in self.findings)
        found = ", ".join(
            f"{counts[severity]} {severity.name.lower()}{'s' if counts[severity] > 1 else ''}"
            for severity in sorted(counts, reverse=True)
        )
        looked = f"{self.files} files, {found or 'nothing found'}"
        if self.accepted:
            return f"gates passed: {looked}"
        return f"gates rejected it: {looked}; first: {self.findings[0]}"

    def as_json(self) -> dict[str, Any]:
        """A form for state and for `--json`."""
        return {
            "accepted": self.accepted,
            "files": self.files,
            "examined": self.examined,
            "seconds": self.seconds,
            "findings": [finding.as_json() for finding in self.findings],
        }
