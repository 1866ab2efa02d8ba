"""Entries and tables in words, for people and as plain values.  Prints nothing itself."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from shim.equivalence.table import Difference, Entry, InputPair, Table


def as_json(entry: Entry, *, details: bool = False) -> dict[str, Any]:
    """An entry as plain values; with `details` also what is decoded on demand."""
    value: dict[str, Any] = {
        "native": entry.native,
        "cross": entry.cross,
        "role": entry.role.value,
        "class": entry.difference_class.name.lower(),
        "grade": entry.grade.name.lower(),
        "reason": entry.reason,
        "nativeOutputs": dict(entry.native_outputs),
        "crossOutputs": dict(entry.cross_outputs),
        "pairing": dict(entry.pairing),
    }
    if details:
        value["inputs"] = [_input(one) for one in entry.inputs]
        value["differences"] = [_difference(one) for one in entry.differences]
    return value


def _input(one: InputPair) -> dict[str, Any]:
    return {
        "slot": one.slot,
        "native": one.native,
        "cross": one.cross,
        "role": one.role.value,
        "reason": one.reason,
    }


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "rule": one.rule,
        "subject": one.subject,
        "native": one.native,
        "cross": one.cross,
        "class": one.difference_class.name.lower(),
    }


def line(entry: Entry) -> str:
    """One entry on one line."""
    judged = entry.difference_class.name.lower()
    return (
        f"{entry.role:9} {judged:8} {entry.grade.name.lower():9} "
        f"{entry.native.base} -> {entry.cross.base}"
    )


def heading(table: Table) -> Iterator[str]:
    """What a table is about."""
    origin = table.provenance
    yield f"{origin.native_system} made on {origin.build_system} ({origin.triple})"
    made = [
        text for text in (origin.source, origin.revision, origin.nix_version, origin.date) if text
    ]
    if made:
        yield f"from {', '.join(made)}"
    roots, toolchains = len(origin.roots), len(table.toolchains)
    yield f"{len(table)} entries, {roots} root pairs, {toolchains} toolchains"


def outputs(entry: Entry) -> Iterator[str]:
    """Names of an entry's outputs, each with what is missing on one side or called otherwise."""
    for name in entry.native_outputs:
        other = entry.pairing.get(name)
        if other is None:
            yield f"{name} (only native)"
        else:
            yield name if other == name else f"{name} (cross `{other}`)"
    for name in entry.cross_outputs:
        if name not in entry.pairing.values():
            yield f"{name} (only cross)"


def statistics(table: Table) -> dict[str, Any]:
    """Counts of a table's rows."""
    entries = list(table)
    return {
        "entries": len(entries),
        "roles": _count(entry.role.value for entry in entries),
        "classes": _count(entry.difference_class.name.lower() for entry in entries),
        "grades": _count(entry.grade.name.lower() for entry in entries),
        "conflicts": sum(1 for _ in table.conflicts()),
        "toolchains": len(table.toolchains),
        "unpaired_native": sum(one.native for one in table.unpaired),
        "unpaired_cross": sum(not one.native for one in table.unpaired),
        "root_pairs": len(table.provenance.roots),
    }


def _count(names: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
