"""Entries and tables in words, for people and as plain values.  Prints nothing itself."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from shim.equivalence.grades import DifferenceClass
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


def explanation(entry: Entry) -> Iterator[str]:
    """An entry for somebody who has to judge it: worst differences first, benign ones by name."""
    yield f"{entry.native}"
    yield f"  {entry.role} counterpart {entry.cross}"
    yield f"  because: {entry.reason}"
    yield f"  grade {entry.grade.name.lower()}, differences {entry.difference_class.name.lower()}"
    yield from _output_lines(entry)
    judged = sorted(entry.differences, key=lambda one: (-one.difference_class, one.subject))
    for one in judged:
        if one.difference_class > DifferenceClass.BENIGN:
            yield f"  {one.difference_class.name.lower()}: {one.rule}, in `{one.subject}`"
            if one.native:
                yield f"    - {_on_one_line(one.native)}"
            if one.cross:
                yield f"    + {_on_one_line(one.cross)}"
    benign = {one.rule for one in judged if one.difference_class is DifferenceClass.BENIGN}
    if benign:
        yield f"  benign: {', '.join(sorted(benign))}"
    kinds = Counter(one.role.value for one in entry.inputs)
    if kinds:
        yield "  inputs paired: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _output_lines(entry: Entry) -> Iterator[str]:
    lacking = [name for name in entry.native_outputs if name not in entry.pairing]
    extra = [name for name in entry.cross_outputs if name not in entry.pairing.values()]
    if lacking:
        yield f"  only native outputs: {', '.join(lacking)}"
    if extra:
        yield f"  only cross outputs: {', '.join(extra)}"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


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
