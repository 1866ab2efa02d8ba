"""`nix-shim history`: the last builds, from the daemon's state, also while it runs."""

import json
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from shim.cli.stateoption import state_options
from shim.daemon.state import BuildRecord, State

SUCCESS = "ok"


@click.command()
@state_options
@click.option("--last", default=30, show_default=True, help="How many, at most.")
@click.option("--peer", default="", help="Only those for this peer.")
@click.option("--failed", is_flag=True, help="Only attempts that failed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, newest first.")
def command(state_file: Path, last: int, peer: str, *, failed: bool, as_json: bool) -> None:
    """List the last attempts to build, newest first; `nix-shim show` tells more about one."""
    with closing(State(state_file, reading=True)) as state:
        records = state.recent(10**9 if failed else last, peer=peer)
    if failed:
        records = [each for each in records if each.outcome != SUCCESS][:last]
    if as_json:
        for record in records:
            click.echo(json.dumps(as_object(record)))
    elif records:
        Console().print(listing(records))
    else:
        click.echo("nothing has been built yet")


def as_object(record: BuildRecord) -> dict[str, Any]:
    """A record as the JSON object of `history` and `status`."""
    return {
        "derivation": record.derivation,
        "peer": record.peer,
        "strategy": record.strategy,
        "outcome": record.outcome,
        "grade": record.grade or None,
        "started": record.started,
        "seconds": record.seconds,
        "findings": len(record.findings),
    }


def listing(records: list[BuildRecord]) -> Table:
    """Records as a table for a terminal; plain text in a pipe."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when", "seconds", "peer", "strategy", "package", "outcome"):
        table.add_column(name, justify="right" if name == "seconds" else "left", overflow="fold")
    for record in records:
        good = record.outcome == SUCCESS
        outcome = record.grade or SUCCESS if good else record.outcome.partition("\n")[0]
        table.add_row(
            f"{datetime.fromtimestamp(record.started).astimezone():%m-%d %H:%M:%S}",
            f"{record.seconds:.1f}",
            record.peer,
            record.strategy,
            record.derivation.name.removesuffix(".drv"),
            outcome,
            style=None if good else "red",
        )
    return table
