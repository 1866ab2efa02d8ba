"""`nix-shim table explain`: one entry so that a person can judge it in half a minute.

First the verdict, then differences by weight, then what a plan comes to.  Every single replacement
is printed by `nix-shim plan`, every field by `--json`.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from protocol.store.path import StorePath
from shim.cli.tablefiles import (
    FILE,
    derivations_option,
    json_option,
    platforms_option,
    store_path,
    why_missing,
)
from shim.equivalence import describe, file
from shim.equivalence.grades import DifferenceClass, Role
from shim.equivalence.source import Derivations
from shim.equivalence.table import Difference, Entry
from shim.errors import ShimError
from shim.plant.explain import as_json as plan_as_json
from shim.plant.plan import Decline, Plan
from shim.plant.planner import Planner
from shim.systems import Systems

WIDTH: Final = 100
LABEL: Final = 10
"""Columns of what stands before the text of a line."""

MEANING: Final = {
    DifferenceClass.NONE: "the recipes differ in nothing",
    DifferenceClass.BENIGN: "they differ in how it is made, not in what is made",
    DifferenceClass.NOTABLE: "they differ in what could reach the result",
    DifferenceClass.SEMANTIC: "the cross recipe asks for another result",
}


@click.command("explain")
@click.option("--table", "table_path", type=FILE, required=True, help="Table file.")
@derivations_option
@platforms_option
@json_option
@click.argument("path")
def explain(table_path: Path, where: Path, platforms: Systems, *, as_json: bool, path: str) -> None:
    """Print what is known of one native .drv or output PATH, and what would be planted for it."""
    table = file.load(table_path)
    entries = table.by_native(store_path(path, table))
    if not entries:
        raise ShimError(f"not in the table: `{path}`", hint=why_missing(table, path))
    host = next((one for one in entries if one.role is Role.HOST), None)
    plan = None
    if host is not None and host.native_outputs != host.cross_outputs:
        derivations = Derivations.open(where, host.native.store_dir)
        plan = Planner(table, derivations, systems=platforms).plan(host.native)
    if as_json:
        planned = None if plan is None else plan_as_json(plan)
        for entry in entries:
            value = describe.as_json(entry, details=True)
            click.echo(json.dumps(value | {"plan": planned if entry is host else None}))
        return
    for number, entry in enumerate(entries):
        if number:
            click.echo()
        click.echo("\n".join(_entry(entry)))
        if entry is host and plan is not None:
            click.echo("\n".join(_plan(plan)))


def _entry(entry: Entry) -> Iterator[str]:
    judged = entry.difference_class
    yield (
        f"{_name(entry.native)}, as {entry.role}: {judged.name.lower()}, {entry.grade.name.lower()}"
        f" - {MEANING[judged]}"
    )
    yield from _line("native", entry.native)
    yield from _line("cross", entry.cross)
    yield from _line("because", entry.reason)
    yield from _line("outputs", ", ".join(describe.outputs(entry)))
    for one in sorted(entry.differences, key=lambda one: (-one.difference_class, one.subject)):
        if one.difference_class > DifferenceClass.BENIGN:
            yield from _difference(one)
    benign = {
        one.rule for one in entry.differences if one.difference_class is DifferenceClass.BENIGN
    }
    yield from _line("benign", ", ".join(sorted(benign)))


def _difference(one: Difference) -> Iterator[str]:
    yield from _line(one.difference_class.name.lower(), f"{one.rule}: `{one.subject}`")
    for side, text in (("only native: ", one.native), ("only cross:  ", one.cross)):
        if text:
            yield from _line("", side + " ".join(text.split()))


def _plan(plan: Plan | Decline) -> Iterator[str]:
    if isinstance(plan, Decline):
        yield "it would not be planted"
        for reason in plan.reasons:
            yield from _line("", reason)
        return
    yield "it would be planted (`nix-shim plan` prints every replacement)"
    inside = plan.native_inputs - plan.outside
    yield from _names("needs", "native, among its own inputs: ", inside)
    yield from _names("", "native, not among its own inputs: ", plan.outside)
    yield from _names("grafts", "", [one.path for one in plan.grafts])
    yield from _names("kept", "compilers that are not made anew: ", plan.opaque)
    tools = [path for path in plan.prerequisites if path not in plan.opaque]
    yield from _names("as it is", "", tools)
    yield from _names("compared", "headers, before it is built: ", _natives(plan.headers))
    yield from _names("", "symbol versions: ", _natives(plan.runtime))
    yield from _names("dropped", "outputs: ", plan.dropped.values())
    for note in plan.notes:
        yield from _line("note", note)


def _natives(pairs: Iterable[tuple[StorePath, StorePath]]) -> list[StorePath]:
    return [native for native, _ in pairs]


def _names(label: str, what: str, paths: Iterable[StorePath]) -> Iterator[str]:
    """A line with the names of `paths`, if there are any."""
    names: Sequence[str] = sorted({_name(path) for path in paths})
    if names:
        yield from _line(label, what + ", ".join(names))


def _name(path: StorePath) -> str:
    return path.name.removesuffix(".drv")


def _line(label: str, text: str) -> Iterator[str]:
    """`text` behind a label, wrapped; nothing if it is empty."""
    margin = " " * (LABEL + 4)
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {label:{LABEL}}  ",
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
