"""Lines of a report: how it stands, what was found, how to mend it."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from shim.errors import ShimError

T = TypeVar("T")


class Level(IntEnum):
    """How it stands; also the exit code of a report whose worst line it is."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One finding."""

    level: Level
    check: str
    """Which check found it."""
    found: str
    fix: str = ""
    """What to do; empty where all is well."""

    def as_json(self) -> dict[str, str]:
        """The line as a JSON object."""
        return {
            "check": self.check,
            "level": self.level.name.lower(),
            "found": self.found,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """A line that does not yet know which check it belongs to."""

    level: Level
    found: str
    fix: str = ""


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, found)


def warn(found: str, fix: str) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return Finding(Level.WARN, found, fix)


def fail(found: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, found, fix)


Check = Callable[[T], Iterable[Finding]]

OUR_MISTAKE: Final = "this is a mistake of nix-shim's; please report it"


def examine(checks: Iterable[tuple[str, Check[T]]], subject: T) -> Iterator[Line]:
    """Run every check; one that breaks is a failed line, and the rest goes on."""
    for name, check in checks:
        try:
            for finding in check(subject):
                yield Line(finding.level, name, finding.found, finding.fix)
        except ShimError as error:
            yield Line(Level.FAIL, name, error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - a broken check must not hide the others
            yield Line(Level.FAIL, name, f"the check broke: {error!r}", OUR_MISTAKE)


def worst(lines: Iterable[Line]) -> Level:
    """The worst level among `lines`."""
    return max((line.level for line in lines), default=Level.OK)


def dump(lines: Iterable[Line]) -> str:
    """All lines as a JSON list."""
    return json.dumps([line.as_json() for line in lines], indent=2)
