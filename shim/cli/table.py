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
from shim.equivalence import combine, describe, file
from shim.equivalence.grades import DifferenceClass, Role
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Entry, Provenance, Table
from shim.errors import ExitCode, ShimError
from shim.evaluation import instantiate

FILE: Final = click.Path(dir_okay=False, path_type=Path)
ROLES: Final = [one.value for one in Role]
EXISTING: Final = click.Path(exists=True, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
table_option = click.option("--table", "table_path", type=FILE, required=True, help="Table file.")
output_option = click.option("-o", "--output", type=FILE, required=True, help="File to write.")
derivations_option = click.option(
    "--derivations",
    "where",
    type=EXISTING,
    default="/",
    show_default=True,
    help="Where the .drv files lie: a folder, a .tar, .tar.zst or .tar.xz, or a store's root.",
)


@click.group(short_help="Make, show and compare equivalence tables.")
def command() -> None:
    """Make, show and compare equivalence tables."""


@command.command("pair")
@click.option("--native", multiple=True, help="Native root .drv; give as many as of --cross.")
@click.option("--cross", multiple=True, help="The cross .drv that corresponds to it.")
@click.option(
    "--pairs", type=click.File("r"), help="File with a line `native cross` for each root pair."
)
@derivations_option
@click.option("--store-dir", default=STORE_DIR, show_default=True)
@click.option("--source", default="", help="What was evaluated, for the record.")
@click.option("--revision", default="", help="Its revision, for the record.")
@output_option
def pair_command(
    native: tuple[str, ...],
    cross: tuple[str, ...],
    pairs: Iterable[str] | None,
    where: Path,
    store_dir: str,
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
        provenance=Provenance(source=source, revision=revision, date=_now()),
    )
    _write(table, output)
    click.echo(f"{output}: {_counts(table)} in {time.monotonic() - started:.1f} s")
    _warn_of_conflicts(table)


@command.command("scan")
@click.option("--file", "nix_file", type=EXISTING, required=True, help="Nix file to evaluate.")
@click.option("--attr", "attributes", multiple=True, required=True, help="Native attribute.")
@click.option("--cross-attr", "cross_attributes", multiple=True, help="The one it corresponds to.")
@click.option("--cross", help="Instead of --cross-attr: `pkgsCross.NAME.` before each attribute.")
@click.option("--native-argstr", multiple=True, nargs=2, help="Argument of the native evaluation.")
@click.option("--cross-argstr", multiple=True, nargs=2, help="Argument of the cross evaluation.")
@click.option("--roots", type=FILE, help="Folder for garbage-collection roots [OUTPUT.roots].")
@derivations_option
@click.option("--store-dir", default=STORE_DIR, show_default=True)
@output_option
def scan(
    nix_file: Path,
    attributes: tuple[str, ...],
    cross_attributes: tuple[str, ...],
    cross: str | None,
    native_argstr: tuple[tuple[str, str], ...],
    cross_argstr: tuple[tuple[str, str], ...],
    roots: Path | None,
    where: Path,
    store_dir: str,
    output: Path,
) -> None:
    """Evaluate attributes of a Nix file natively and cross, and write the table of their graphs.

    An attribute that cannot be evaluated is named and left out.
    """
    if cross is not None:
        cross_attributes = tuple(f"pkgsCross.{cross}.{name}" for name in attributes)
    if len(cross_attributes) != len(attributes):
        raise ShimError(
            f"{len(attributes)} attributes and {len(cross_attributes)} cross ones are given",
            hint="give a --cross-attr for each --attr, or --cross",
            code=ExitCode.USAGE,
        )
    folder = roots or output.with_name(f"{output.name}.roots")
    folder.mkdir(parents=True, exist_ok=True)
    pairs: list[tuple[StorePath, StorePath]] = []
    for native_name, cross_name in zip(attributes, cross_attributes, strict=True):
        try:
            one, two = (
                instantiate(nix_file, name, folder / f"{side}-{name}", store_dir, _argstr(given))
                for side, name, given in (
                    ("native", native_name, native_argstr),
                    ("cross", cross_name, cross_argstr),
                )
            )
        except ShimError as error:
            if error.code is ExitCode.UNAVAILABLE:
                raise
            click.echo(str(error), err=True)
        else:
            pairs.append((one, two))
    provenance = Provenance(source=f"{nix_file.name}: {' '.join(attributes)}", date=_now())
    table = pair(Derivations.open(where, store_dir), pairs, provenance=provenance)
    _write(table, output)
    click.echo(f"{output}: {_counts(table)}, from {len(pairs)} of {len(attributes)} attributes")
    _warn_of_conflicts(table)


def _argstr(given: Iterable[tuple[str, str]]) -> list[str]:
    return [word for name, value in given for word in ("--argstr", name, value)]


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


@command.command("explain")
@table_option
@derivations_option
@json_option
@click.argument("path")
def explain(table_path: Path, where: Path, *, as_json: bool, path: str) -> None:
    """Print what is known of one native .drv or output PATH, and what would be planted for it."""
    from shim.plant.explain import as_json as plan_as_json  # noqa: PLC0415 - only this command plans
    from shim.plant.explain import tree  # noqa: PLC0415 - same
    from shim.plant.planner import Planner  # noqa: PLC0415 - same

    table = file.load(table_path)
    entries = table.by_native(_store_path(path, table))
    if not entries:
        raise ShimError(f"not in the table: `{path}`", hint=_why_missing(table, path))
    host = next((one for one in entries if one.role is Role.HOST), None)
    plan = None
    if host is not None and host.native_outputs != host.cross_outputs:
        plan = Planner(table, Derivations.open(where, host.native.store_dir)).plan(host.native)
    if as_json:
        planned = None if plan is None else plan_as_json(plan)
        for entry in entries:
            _print_json(
                describe.as_json(entry, details=True) | {"plan": planned if entry is host else None}
            )
        return
    for entry in entries:
        click.echo("\n".join(describe.explanation(entry)))
        if entry is host and plan is not None:
            click.echo("plan")
            click.echo("\n".join(f"  {line}" for line in tree(plan).splitlines()))


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
    _write(table, output)
    click.echo(f"{output}: {_counts(table)}")
    _warn_of_conflicts(table)


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
        click.echo(f"{path}: sound, {_counts(table)}")


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


def _store_path(text: str, table: Table) -> StorePath:
    """A path as the table's, whatever lies behind its base name."""
    store_dir = next(iter(table)).native.store_dir if len(table) else STORE_DIR
    base = text.removeprefix(f"{store_dir}/").partition("/")[0]
    try:
        return StorePath.of(base, store_dir)
    except ProtocolError as error:
        raise ShimError(str(error), code=ExitCode.USAGE) from error


def _answers(table: Table, text: str) -> Iterator[dict[str, Any]]:
    path = _store_path(text, table)
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
        yield {"query": path, "native": path, **nothing, "reason": _why_missing(table, path)}


def _one_of_equals(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Several derivations make the same output: one row for each counterpart is enough."""
    distinct: dict[Any, Entry] = {}
    for entry in entries:
        distinct.setdefault((entry.role, tuple(sorted(entry.cross_outputs.values()))), entry)
    return tuple(distinct.values())


def _why_missing(table: Table, path: str) -> str:
    for one in table.unpaired:
        if one.path == path:
            return one.reason
    return "the walk that made this table did not meet it"


def _counts(table: Table) -> str:
    roles = Counter(entry.role for entry in table)
    parts = ", ".join(f"{roles[role]} {role}" for role in Role)
    unpaired = sum(one.native for one in table.unpaired)
    return f"{len(table)} entries ({parts}), {unpaired} native derivations unpaired"


def _warn_of_conflicts(table: Table) -> None:
    for group in table.conflicts():
        click.echo(f"conflict: `{group[0].native.base}` has several counterparts:", err=True)
        for entry in group:
            click.echo(f"  {describe.line(entry)}", err=True)
    for one in table.unpaired:
        if one.reason.startswith("cannot be read"):
            click.echo(f"`{one.path}` {one.reason}", err=True)


def _write(table: Table, path: Path) -> None:
    try:
        file.save(table, path)
    except OSError as error:
        raise ShimError(f"cannot write `{path}`: {error.strerror}") from error


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
