"""`nix-shim table`: make, show and compare equivalence tables."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from protocol.errors import ProtocolError
from protocol.store.path import STORE_DIR, StorePath
from shim.cli.tableexplain import explain
from shim.cli.tablefiles import (
    FILE,
    counts,
    derivations_option,
    json_option,
    now,
    output_option,
    platforms_option,
    store_path,
    warn_of_conflicts,
    why_missing,
    write,
)
from shim.cli.tablescan import scan
from shim.cli.tablestatus import status
from shim.equivalence import combine, describe, file
from shim.equivalence.grades import DifferenceClass, Role
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Entry, Provenance, Table
from shim.errors import ExitCode, ShimError
from shim.systems import Systems

ROLES: Final = [one.value for one in Role]

table_option = click.option("--table", "table_path", type=FILE, required=True, help="Table file.")


@click.group(short_help="Make, show and compare equivalence tables.")
def command() -> None:
    """Make, show and compare equivalence tables."""


command.add_command(explain)
command.add_command(scan)
command.add_command(status)


@command.command("pair")
@click.option("--native", multiple=True, help="Native root .drv; give as many as of --cross.")
@click.option("--cross", multiple=True, help="The cross .drv that corresponds to it.")
@click.option(
    "--pairs", type=click.File("r"), help="File with a line `native cross` for each root pair."
)
@derivations_option
@click.option("--store-dir", default=STORE_DIR, show_default=True)
@platforms_option
@click.option("--source", default="", help="What was evaluated, for the record.")
@click.option("--revision", default="", help="Its revision, for the record.")
@output_option
def pair_command(
    native: tuple[str, ...],
    cross: tuple[str, ...],
    pairs: Iterable[str] | None,
    where: Path,
    store_dir: str,
    platforms: Systems,
    source: str,
    revision: str,
    output: Path,
) -> None:
    """Walk native and cross derivations in parallel from pairs of roots, and write the table."""
    if len(native) != len(cross):
        raise ShimError(
            f"{len(native)} native roots and {len(cross)} cross ones are given",
            hint="give --native and --cross in pairs",
            code=ExitCode.USAGE,
        )
    texts = [*zip(native, cross, strict=True), *_pair_lines(pairs or ())]
    roots = [(_derivation(one, store_dir), _derivation(two, store_dir)) for one, two in texts]
    started = time.monotonic()
    table = pair(
        Derivations.open(where, store_dir),
        roots,
        provenance=Provenance(source=source, revision=revision, date=now()),
        systems=platforms,
    )
    write(table, output)
    click.echo(f"{output}: {counts(table)} in {time.monotonic() - started:.1f} s")
    warn_of_conflicts(table)


@command.command("show")
@click.argument("path", type=FILE)
@click.option("--role", type=click.Choice(ROLES), help="Only entries of this role.")
@click.option(
    "--class",
    "class_name",
    type=click.Choice([one.name.lower() for one in DifferenceClass]),
    help="Only entries of this difference class.",
)
@click.option("--unpaired", is_flag=True, help="List what has no counterpart, with the reason.")
@json_option
def show(
    path: Path, role: str | None, class_name: str | None, *, unpaired: bool, as_json: bool
) -> None:
    """Print a table, one entry a line."""
    table = file.load(path)
    if unpaired:
        for one in table.unpaired:
            side = "native" if one.native else "cross"
            if as_json:
                _print_json({"path": one.path, "side": side, "reason": one.reason})
            else:
                click.echo(f"{side:6} {one.path.base}  {one.reason}")
        return
    chosen = (
        entry
        for entry in table
        if role in (None, entry.role) and class_name in (None, entry.difference_class.name.lower())
    )
    if not as_json:
        click.echo("\n".join(describe.heading(table)))
    for entry in chosen:
        if as_json:
            _print_json(describe.as_json(entry, details=True))
        else:
            click.echo(describe.line(entry))


@command.command("lookup")
@table_option
@json_option
@click.argument("paths", nargs=-1)
def lookup(table_path: Path, *, as_json: bool, paths: tuple[str, ...]) -> None:
    """Print the entries of native .drv or output PATHs, given as arguments or on standard input.

    A path that the table does not have is printed as well, with the reason.
    """
    table = file.load(table_path)
    for text in paths or map(str.strip, sys.stdin):
        if not text:
            continue
        for answer in _answers(table, text):
            if as_json:
                _print_json(answer)
            else:
                click.echo(
                    f"{answer['native']} -> {answer['cross'] or '-'}  "
                    f"{answer['role'] or '-'} {answer['class'] or '-'} {answer['grade'] or '-'}  "
                    f"{answer['reason']}"
                )


@command.command("stats")
@click.argument("path", type=FILE)
@json_option
def stats(path: Path, *, as_json: bool) -> None:
    """Count a table's entries by role, class and grade."""
    table = file.load(path)
    numbers = describe.statistics(table)
    if as_json:
        _print_json(numbers)
        return
    for name, value in numbers.items():
        if isinstance(value, dict):
            click.echo(f"{name}: " + ", ".join(f"{count} {key}" for key, count in value.items()))
        else:
            click.echo(f"{name}: {value}")


@command.command("diff")
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@json_option
def diff(before: Path, after: Path, *, as_json: bool) -> None:
    """Print what AFTER says otherwise than BEFORE."""
    counts: Counter[str] = Counter()
    for change in combine.diff(file.load(before), file.load(after)):
        counts[change.kind] += 1
        if as_json:
            _print_json(
                {
                    "change": change.kind,
                    "native": change.native,
                    "role": change.role,
                    "before": [describe.as_json(one) for one in change.before],
                    "after": [describe.as_json(one) for one in change.after],
                }
            )
        else:
            click.echo(f"{change.kind} {change.native.base} {change.role}")
            for mark, entries in (("-", change.before), ("+", change.after)):
                for entry in entries:
                    click.echo(f"  {mark} {describe.line(entry)}")
    if not as_json:
        click.echo(
            ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "no changes"
        )


@command.command("merge")
@output_option
@click.argument("paths", nargs=-1, type=FILE, required=True)
def merge(output: Path, paths: tuple[Path, ...]) -> None:
    """Write one table with the entries of all; contradictions are kept and named."""
    table = combine.merge([file.load(path) for path in paths])
    write(table, output)
    click.echo(f"{output}: {counts(table)}")
    warn_of_conflicts(table)


@command.command("verify-file")
@click.argument("path", type=FILE)
@json_option
def verify_file(path: Path, *, as_json: bool) -> None:
    """Check a table's checksum and decode everything in it."""
    table = file.load(path)
    file.verify(table, path)
    if as_json:
        _print_json({"path": str(path), "entries": len(table), "ok": True})
    else:
        click.echo(f"{path}: sound, {counts(table)}")


def _pair_lines(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if len(words) == 2:
            yield words[0], words[1]
        elif words:
            raise ShimError(
                f"line {number} of the pairs is not `native cross`: `{line.strip()}`",
                code=ExitCode.USAGE,
            )


def _derivation(text: str, store_dir: str) -> StorePath:
    try:
        path = StorePath.parse(text, store_dir)
    except ProtocolError as error:
        raise ShimError(str(error), code=ExitCode.USAGE) from error
    if not path.is_derivation:
        raise ShimError(f"not a .drv: `{text}`", code=ExitCode.USAGE)
    return path


def _answers(table: Table, text: str) -> Iterator[dict[str, Any]]:
    path = store_path(text, table)
    entries = table.by_native(path)
    if not path.is_derivation:
        entries = _one_of_equals(entries)
    for entry in entries:
        answer = {"query": path, **describe.as_json(entry)}
        if not path.is_derivation:
            answer["crossOutput"] = entry.cross_of(path)
        yield answer
    if not entries:
        nothing = dict.fromkeys(("cross", "role", "class", "grade"))
        yield {"query": path, "native": path, **nothing, "reason": why_missing(table, path)}


def _one_of_equals(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Several derivations make the same output: one row for each counterpart is enough."""
    distinct: dict[Any, Entry] = {}
    for entry in entries:
        distinct.setdefault((entry.role, tuple(sorted(entry.cross_outputs.values()))), entry)
    return tuple(distinct.values())


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
