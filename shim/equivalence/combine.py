"""Several tables into one, and what changed between two.

Merging drops nothing that contradicts: entries that give one native derivation different
counterparts stay side by side, and the result reports them as conflicts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from protocol.store.path import StorePath
from shim.equivalence.grades import Role
from shim.equivalence.table import Entry, Provenance, Table, Toolchain, Unpaired
from shim.errors import ExitCode, ShimError

Key = tuple[StorePath, Role, StorePath]


def merge(tables: Sequence[Table]) -> Table:
    """One table with every entry of `tables`; their order does not matter.

    Of equal pairs the better graded one is kept.  What one table left unpaired and another paired
    is paired.

    Raises:
        ShimError: no tables, or tables of different systems.
    """
    if not tables:
        raise ShimError("no table to merge is given", code=ExitCode.USAGE)
    entries: dict[Key, Entry] = {}
    for entry in (one for table in tables for one in table):
        key = _key(entry)
        known = entries.get(key)
        entries[key] = entry if known is None else min(known, entry, key=_preference)
    paired = {path for _, entry in sorted(entries.items()) for path in (entry.native, entry.cross)}
    unpaired: dict[StorePath, Unpaired] = {}
    for one in sorted(
        (one for table in tables for one in table.unpaired), key=lambda one: (one.path, one.reason)
    ):
        if one.path not in paired:
            unpaired.setdefault(one.path, one)
    toolchains: dict[tuple[StorePath, StorePath], Toolchain] = {}
    for row in sorted((row for table in tables for row in table.toolchains), key=repr):
        toolchains.setdefault((row.native, row.cross), row)
    return Table.of(
        [entry for _, entry in sorted(entries.items())],
        provenance=_provenance([table.provenance for table in tables]),
        toolchains=tuple(one for _, one in sorted(toolchains.items())),
        unpaired=tuple(unpaired.values()),
    )


def _key(entry: Entry) -> Key:
    return entry.native, entry.role, entry.cross


def _preference(entry: Entry) -> tuple[int, str, str]:
    """The better grade first; then anything that does not depend on the order of tables."""
    return -entry.grade, entry.reason, repr((entry, entry.inputs, entry.differences))


def _provenance(given: Sequence[Provenance]) -> Provenance:
    systems = {(one.native_system, one.build_system, one.triple) for one in given}
    if len(systems) > 1:
        first, second, *_ = sorted(systems)
        raise ShimError(
            f"tables of different systems: `{'/'.join(first)}` and `{'/'.join(second)}`",
            hint="a configuration can name several tables; merge those of one system only",
            code=ExitCode.USAGE,
        )
    return Provenance(
        *next(iter(systems)),
        source=_joined(one.source for one in given),
        revision=_joined(one.revision for one in given),
        nix_version=_joined(one.nix_version for one in given),
        date=max(one.date for one in given),
        roots=tuple(sorted({root for one in given for root in one.roots})),
    )


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(sorted({part for text in texts for part in text.split(", ") if part}))


@dataclass(frozen=True, slots=True)
class Change:
    """One native derivation in one role whose rows differ between two tables."""

    kind: Literal["added", "removed", "changed"]
    native: StorePath
    role: Role
    before: tuple[Entry, ...]
    after: tuple[Entry, ...]


def diff(before: Table, after: Table) -> Iterator[Change]:
    """What changed, ordered by native derivation.  Reasons and input lists are not compared."""
    old, new = _grouped(before), _grouped(after)
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key, ()), new.get(key, ())
        if [*map(_judgement, left)] != [*map(_judgement, right)]:
            kind: Literal["added", "removed", "changed"] = "changed"
            if not left or not right:
                kind = "removed" if left else "added"
            yield Change(kind, *key, before=tuple(left), after=tuple(right))


def _grouped(table: Table) -> dict[tuple[StorePath, Role], list[Entry]]:
    groups: dict[tuple[StorePath, Role], list[Entry]] = {}
    for entry in table:
        groups.setdefault((entry.native, entry.role), []).append(entry)
    return {key: sorted(group, key=_key) for key, group in groups.items()}


def _judgement(entry: Entry) -> Entry:
    return replace(entry, reason="", inputs=(), differences=())
