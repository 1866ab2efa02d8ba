"""`nix-shim table scan`: evaluate natively and cross, pair, and write the table."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from protocol.store.path import STORE_DIR, StorePath
from shim import sources
from shim.cli.tablefiles import (
    EXISTING,
    FILE,
    counts,
    derivations_option,
    now,
    output_option,
    platforms_option,
    warn_of_conflicts,
    write,
)
from shim.equivalence.graphs import BUILTIN
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Provenance
from shim.errors import ExitCode, ShimError
from shim.evaluation import Batch, Effort, Evaluated, Evaluator, names
from shim.sources import Source, Twin
from shim.systems import Systems

MIB: Final = 1 << 20

STEPS: Final = 20
"""Lines of progress where there is no terminal."""


@click.command("scan")
@click.option("--flake", metavar="REF#ATTR", help="A flake's attribute or NixOS configuration.")
@click.option("--file", "nix_file", type=EXISTING, help="Nix file to evaluate; see --attr.")
@click.option("--nixpkgs", type=EXISTING, help="Package set like nixpkgs; see --attrs and --all.")
@click.option("--attr", "attributes", multiple=True, help="Native attribute of --file.")
@click.option("--attrs", help="Attributes of --nixpkgs, with commas between them.")
@click.option("--all", "everything", is_flag=True, help="All top attributes of --nixpkgs.")
@click.option("--cross-attr", "cross_attributes", multiple=True, help="The one it corresponds to.")
@click.option("--cross", help="Instead of --cross-attr: `pkgsCross.NAME.` before each attribute.")
@click.option("--system", default="aarch64-linux", show_default=True, help="What --nixpkgs is for.")
@click.option("--build-system", default="x86_64-linux", show_default=True, help="Built on.")
@click.option("--native-argstr", multiple=True, nargs=2, help="Argument of the native evaluation.")
@click.option("--cross-argstr", multiple=True, nargs=2, help="Argument of the cross evaluation.")
@click.option("--workers", type=click.IntRange(1), help="Evaluations at once [by memory].")
@click.option(
    "--memory", type=click.IntRange(64), help="MiB for all of them [3/4 of what is free]."
)
@click.option("--roots", type=FILE, help="Folder for garbage-collection roots [OUTPUT.roots].")
@platforms_option
@derivations_option
@click.option("--store-dir", default=STORE_DIR, show_default=True)
@output_option
def scan(
    flake: str | None,
    nix_file: Path | None,
    nixpkgs: Path | None,
    attributes: tuple[str, ...],
    attrs: str | None,
    cross_attributes: tuple[str, ...],
    cross: str | None,
    system: str,
    build_system: str,
    native_argstr: tuple[tuple[str, str], ...],
    cross_argstr: tuple[tuple[str, str], ...],
    workers: int | None,
    memory: int | None,
    roots: Path | None,
    platforms: Systems,
    where: Path,
    store_dir: str,
    output: Path,
    *,
    everything: bool,
) -> None:
    """Evaluate attributes natively and cross, and write the table of their graphs.

    Exactly one of --flake, --file and --nixpkgs says what.  An attribute that cannot be evaluated
    is named and left out.
    """
    match flake, nix_file, nixpkgs:
        case str(), None, None:
            source, twins = _of_flake(flake, cross_attributes, cross, build_system, platforms)
        case None, Path(), None:
            source = sources.from_file(nix_file, native_argstr, cross_argstr)
            twins = _of_file(attributes, cross_attributes, cross, build_system, platforms)
        case None, None, Path():
            source = sources.from_nixpkgs(nixpkgs, system, build_system)
            twins = _of_set(source, attrs, cross or platforms[system].cross, everything=everything)
        case _:
            raise ShimError("give one of --flake, --file and --nixpkgs", code=ExitCode.USAGE)
    folder = roots or output.with_name(f"{output.name}.roots")
    folder.mkdir(parents=True, exist_ok=True)
    effort = Effort.of(workers, None if memory is None else memory * MIB)
    derivations = Derivations.open(where, store_dir)
    evaluator = Evaluator(source, folder.resolve(), derivations, effort)
    pairs, batch = _evaluate(evaluator, twins, derivations, build_system)
    if not pairs:
        raise ShimError(f"nothing of {source.label} could be evaluated", code=ExitCode.DATA)
    named = " ".join(twin.name for twin in twins) if len(twins) < STEPS else f"{len(twins)} names"
    provenance = Provenance(
        source=source.label if source.label.endswith(named) else f"{source.label}: {named}",
        revision=batch.revision,
        nix_version=batch.nix_version,
        date=now(),
    )
    table = pair(derivations, pairs, provenance=provenance, systems=platforms)
    write(table, output)
    evaluator.forget_older()
    click.echo(f"{output}: {counts(table)}, from {len(pairs)} of {len(twins)} attributes")
    warn_of_conflicts(table)


def _of_flake(
    flake: str,
    cross_attributes: Sequence[str],
    cross: str | None,
    build_system: str,
    systems: Systems,
) -> tuple[Source, list[Twin]]:
    reference, mark, text = flake.partition("#")
    if not mark:
        raise ShimError(f"no attribute is named: `{flake}`", hint="REF#ATTR", code=ExitCode.USAGE)
    attribute = sources.attribute_path(text)
    if attribute[0] == sources.CONFIGURATIONS and len(attribute) == 2:
        source = sources.from_configuration(reference, attribute[1], build_system)
        top = sources.SYSTEM_ATTRIBUTE
        return source, [Twin(text, top, top)]
    return (
        sources.from_flake(reference),
        _of_file([text], cross_attributes, cross, build_system, systems),
    )


def _of_file(
    attributes: Sequence[str],
    cross_attributes: Sequence[str],
    cross: str | None,
    build_system: str,
    systems: Systems,
) -> list[Twin]:
    if not attributes:
        raise ShimError("no attribute is named", hint="give --attr", code=ExitCode.USAGE)
    natives = [sources.attribute_path(text) for text in attributes]
    if cross_attributes:
        crosses = [sources.attribute_path(text) for text in cross_attributes]
    else:
        crosses = [sources.cross_path(path, cross, build_system, systems) for path in natives]
    if len(crosses) != len(natives):
        raise ShimError(
            f"{len(natives)} attributes and {len(crosses)} cross ones are given",
            hint="give a --cross-attr for each --attr, or --cross",
            code=ExitCode.USAGE,
        )
    return [Twin(*one) for one in zip(attributes, natives, crosses, strict=True)]


def _of_set(source: Source, attrs: str | None, cross: str, *, everything: bool) -> list[Twin]:
    if everything == bool(attrs):
        raise ShimError("give either --attrs or --all with --nixpkgs", code=ExitCode.USAGE)
    if attrs:
        named = [text.strip() for text in attrs.split(",") if text.strip()]
        paths = [(text, sources.attribute_path(text)) for text in named]
    else:
        paths = [(name, (name,)) for name in names(source, ("pkgs",))]
    return [Twin(text, ("pkgs", *path), ("pkgsCross", cross, *path)) for text, path in paths]


def _evaluate(
    evaluator: Evaluator, twins: Sequence[Twin], derivations: Derivations, build_system: str
) -> tuple[list[tuple[StorePath, StorePath]], Batch]:
    """All pairs, and a batch that says where they come from."""
    pairs: list[tuple[StorePath, StorePath]] = []
    about = Batch((), "", "")
    with _progress(len(twins)) as tell:
        for batch in evaluator.run(twins):
            about = max(about, batch, key=lambda one: bool(one.nix_version))
            for result in batch.results:
                why = _not_crossed(result.pair, derivations, build_system)
                if why:
                    result = replace(result, pair=None, reason=why)  # noqa: PLW2901 - judged
                if result.pair is not None:
                    pairs.append(result.pair)
                tell(result, len(twins))
    return pairs, about


def _not_crossed(
    pair: tuple[StorePath, StorePath] | None, derivations: Derivations, build_system: str
) -> str:
    """Why two derivations are not a native and a cross one; empty if they are, or hashes are."""
    if pair is None:
        return ""
    try:
        native, cross = (derivations[path] for path in pair)
    except ShimError as error:
        return str(error)
    if native.is_fixed or cross.is_fixed:
        return ""
    if cross.platform not in {build_system, BUILTIN}:
        return f"the result is not cross: it is built on {cross.platform}, not on {build_system}"
    if native.platform == build_system:
        return f"its native side is built on {build_system}: it is cross already, or not a board's"
    return ""


@contextmanager
def _progress(total: int) -> Iterator["_Teller"]:
    """A bar on a terminal; elsewhere a line now and then.  Both on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not sys.stderr.isatty():
        yield _Teller(console, None, total)
        return
    columns = (
        TextColumn("evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield _Teller(console, bar, total)


class _Teller:
    def __init__(self, console: Console, bar: Progress | None, total: int) -> None:
        self._console = console
        self._bar = bar
        self._task = None if bar is None else bar.add_task("", total=total)
        self._done = 0

    def __call__(self, result: Evaluated, total: int) -> None:
        self._done += 1
        if result.pair is None and result.is_derivation:
            self._console.print(f"`{result.name}` is left out: {result.reason}", markup=False)
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)
        elif total >= STEPS and self._done * STEPS // total != (self._done - 1) * STEPS // total:
            self._console.print(f"evaluated {self._done} of {total}")
