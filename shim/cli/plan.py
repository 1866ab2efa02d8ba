"""`nix-shim plan`: what would be planted for a derivation, and why, without building anything."""

import json
from pathlib import Path

import click

from protocol.errors import ProtocolError
from protocol.store.path import STORE_DIR, StorePath
from shim.cli.tablefiles import platforms_option
from shim.equivalence.file import load
from shim.equivalence.grades import Role
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.errors import ExitCode, ShimError
from shim.plant.explain import as_json, summary, tree
from shim.plant.plan import Decline
from shim.plant.planner import Planner
from shim.systems import Systems


@click.command("plan", short_help="Show what would be planted for a derivation, and why.")
@click.argument("drv", nargs=-1)
@click.option(
    "--table",
    "table_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Equivalence table, as `nix-shim table pair` writes it.",
)
@click.option(
    "--derivations",
    "where",
    default="/",
    show_default=True,
    type=click.Path(exists=True, path_type=Path),
    help="Where the .drv files lie: a folder, a .tar, .tar.zst or .tar.xz, or the root of a store.",
)
@click.option("--store-dir", default=STORE_DIR, show_default=True, help="Store directory.")
@platforms_option
@click.option("--json", "as_objects", is_flag=True, help="One JSON object a line.")
@click.option(
    "--summary",
    "summarise",
    is_flag=True,
    help="Only count how many can be planted, and the reasons for declining the others.",
)
def command(
    drv: tuple[str, ...],
    table_file: Path,
    where: Path,
    store_dir: str,
    platforms: Systems,
    as_objects: bool,
    summarise: bool,
) -> None:
    """Show what would be planted for each native DRV, and why.

    DRV is the path of a native .drv file.  With --summary and no DRV, every package of the table
    counts.  The exit code is 1 when DRVs were given and one of them cannot be planted.
    """
    table = load(table_file)
    planner = Planner(table, Derivations.open(where, store_dir), systems=platforms)
    paths = [_parse(text, store_dir) for text in drv]
    if not paths and not summarise:
        raise ShimError(
            "no derivation given", hint="name one, or ask for --summary", code=ExitCode.USAGE
        )
    results = ((path, planner.plan(path)) for path in paths or _packages(table))
    if summarise:
        found = summary(results)
        click.echo(json.dumps(found.as_json()) if as_objects else "\n".join(found.lines()))
        return
    declined = False
    for _, result in results:
        declined |= isinstance(result, Decline)
        click.echo(json.dumps(as_json(result)) if as_objects else tree(result))
    if declined:
        raise SystemExit(ExitCode.FAILURE)


def _packages(table: Table) -> list[StorePath]:
    """Native derivations with a counterpart for the host that makes other paths."""
    return sorted(
        {
            entry.native
            for entry in table
            if entry.role is Role.HOST and entry.native_outputs != entry.cross_outputs
        }
    )


def _parse(text: str, store_dir: str) -> StorePath:
    try:
        path = StorePath.parse(text, store_dir)
    except ProtocolError as error:
        raise ShimError(str(error), code=ExitCode.USAGE) from error
    if not path.is_derivation:
        raise ShimError(
            f"not a derivation: `{text}`",
            hint="`nix-store --query --deriver` tells the .drv of an output",
            code=ExitCode.USAGE,
        )
    return path
