"""What a path means on the target: links followed by logical names, inside what is allowed only.

The files lie under one or more physical roots; a link to `/nix/store/...` in them means the logical
path, so nothing is ever opened by following links of the machine we run on.
"""

import os
import stat
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from shim.gates.settings import LimitError, Limits
from shim.gates.subject import Subject

MOST_LINKS: Final = 40
"""The kernel gives up after as many (`MAXSYMLINKS`)."""


MOST_REMEMBERED: Final = 1 << 16
"""Paths whose ends are remembered; programs of a package look for the same libraries."""


class Outcome(Enum):
    """How following a path ended."""

    FOUND = auto()
    MISSING = auto()
    LOOP = auto()
    OUTSIDE = auto()
    """It leaves the store directory: what is there is the target's own business."""
    DENIED = auto()
    """It reaches a store path that the result may not refer to."""
    ABSENT = auto()
    """An allowed store path whose files are under none of the physical roots."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a path led.

    Attributes:
        outcome: see there.
        logical: the last path reached, without links in it.
        physical: where that lies, when it was found; else empty.
    """

    outcome: Outcome
    logical: str
    physical: str = ""


class Closure:
    """The store as the target will see it: the allowed paths and the result's own outputs."""

    def __init__(self, subject: Subject, limits: Limits) -> None:
        self._most_lookups = limits.lookups
        self._lookups = 0
        self._store = tuple(part for part in subject.store_dir.split("/") if part)
        self._allowed = {path.base for path in (*subject.allowed, *subject.outputs.values())}
        self._roots = [
            f"{os.fspath(root).rstrip('/')}{subject.store_dir}"
            for root in (subject.root, *subject.closure_roots)
        ]
        self._homes: dict[str, str | None] = {}
        self._seen: dict[str, Resolved] = {}

    def resolve(self, path: str) -> Resolved:
        """Follow an absolute logical path to its end.

        Raises:
            OSError: reading failed for another reason than absence.
            LimitError: following paths has taken too many steps altogether.
        """
        self._step()
        found = self._seen.get(path)
        if found is None:
            if len(self._seen) >= MOST_REMEMBERED:
                self._seen.clear()
            found = self._seen[path] = self._resolve(path)
        return found

    def paths(self) -> list[str]:
        """Logical paths of everything allowed, sorted."""
        store = "/".join(self._store)
        return [f"/{store}/{base}" for base in sorted(self._allowed)]

    def _resolve(self, path: str) -> Resolved:
        pending = deque(path.split("/"))
        reached: list[str] = []
        physical = ""
        links = 0
        depth = len(self._store)
        while pending:
            part = pending.popleft()
            if part in {"", "."}:
                continue
            if part == "..":
                if reached:
                    reached.pop()
                continue
            reached.append(part)
            logical = "/" + "/".join(reached)
            if tuple(reached[:depth]) != self._store[: len(reached)]:
                return Resolved(Outcome.OUTSIDE, "/".join((logical, *pending)))
            if len(reached) <= depth:
                continue
            base = reached[depth]
            if base not in self._allowed:
                return Resolved(Outcome.DENIED, "/".join((logical, *pending)))
            home = self._home(base)
            if home is None:
                return Resolved(Outcome.ABSENT, logical)
            physical = "/".join((home, *reached[depth:]))
            self._step()
            try:
                mode = os.lstat(physical).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return Resolved(Outcome.MISSING, logical)
            if not stat.S_ISLNK(mode):
                if pending and not stat.S_ISDIR(mode) and any(pending):
                    return Resolved(Outcome.MISSING, "/".join((logical, *pending)))
                continue
            links += 1
            if links > MOST_LINKS:
                return Resolved(Outcome.LOOP, logical)
            target = os.readlink(physical)  # noqa: PTH115 - Path would normalise it
            if target.startswith("/"):
                reached.clear()
            else:
                reached.pop()
            pending.extendleft(reversed(target.split("/")))
        if len(reached) <= depth:
            return Resolved(Outcome.OUTSIDE, "/" + "/".join(reached))
        home = self._home(reached[depth])
        physical = "/".join((home or "", *reached[depth:]))
        return Resolved(Outcome.FOUND, "/" + "/".join(reached), physical)

    def _step(self) -> None:
        """Count what costs time: a look at the disk, or at what is remembered of it."""
        self._lookups += 1
        if self._lookups > self._most_lookups:
            raise LimitError(f"more than {self._most_lookups} steps (`lookups`)")

    def _home(self, base: str) -> str | None:
        if base not in self._homes:
            self._homes[base] = next(
                (root for root in self._roots if os.path.lexists(f"{root}/{base}")), None
            )
        return self._homes[base]
