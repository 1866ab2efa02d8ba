"""`nix-shim history`: the last builds, from the daemon's state, also while it runs."""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from protocol.store.path import StorePath
from shim.cli.options import Kept, state_options

SUCCESS: Final = "ok"


@click.command()
@state_options
@click.option("--last", default=30, show_default=True, help="How many, at most.")
@click.option("--peer", default="", help="Only those for this peer.")
@click.option("--failed", is_flag=True, help="Only attempts that failed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, newest first.")
def command(kept: Kept, last: int, peer: str, *, failed: bool, as_json: bool) -> None:
    """List the last attempts to build, newest first; `nix-shim show` tells more about one."""
    with closing(kept.state()) as state:
        records = state.recent(10**9 if failed else last, peer=peer)
    if failed:
        records = [each for each in records if each.outcome != SUCCESS][:last]
    if as_json:
        for record in records:
            click.echo(json.dumps(record.as_json()))
    elif records:
        Console().print(listing(record.as_json() for record in records))
    else:
        click.echo("nothing has been built yet")


def package(derivation: str) -> str:
    """The name of a derivation's package."""
    return StorePath(derivation).name.removesuffix(".drv")


def listing(records: Iterable[Mapping[str, Any]]) -> Table:
    """Builds (`BuildRecord.as_json`) as a table for a terminal; plain text in a pipe."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when", "seconds", "peer", "strategy", "package", "outcome"):
        table.add_column(name, justify="right" if name == "seconds" else "left", overflow="fold")
    for record in records:
        good = record["outcome"] == SUCCESS
        outcome = record["grade"] or SUCCESS if good else record["outcome"].partition("\n")[0]
        table.add_row(
            f"{datetime.fromtimestamp(record['started']).astimezone():%m-%d %H:%M:%S}",
            f"{record['seconds']:.1f}",
            record["peer"],
            record["strategy"],
            package(record["derivation"]),
            outcome,
            style=None if good else "red",
        )
    return table
