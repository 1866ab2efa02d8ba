"""`nix-shim status`: sessions, builds and queue of the running daemon, once or as they change."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shim import config as configuration
from shim.asking import asking
from shim.cli.history import listing, package

SOCKET: Final = Path("/run/nix-shim/socket")
"""Where the daemon listens when nobody says otherwise: the configuration's default."""

CONFIG: Final = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The daemon's configuration; names its socket.",
)
SOCKET_OPTION: Final = click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help=f"The daemon's socket  [default: the configuration's, or {SOCKET}]",
)


@click.command()
@CONFIG
@SOCKET_OPTION
@click.option("--once", is_flag=True, help="Show it once; so it is anyway when not on a terminal.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each look.")
def command(
    config_file: Path | None, path: Path | None, interval: float, *, once: bool, as_json: bool
) -> None:
    """Show what the daemon does: sessions, running builds, queue, recent results.

    On a terminal it is shown anew every second until Ctrl-C.
    """
    with asking(find_socket(config_file, path)) as ask:
        first = ask(ask="status")
        console = Console()
        if as_json:
            click.echo(json.dumps(first))
        elif once or not console.is_terminal:
            console.print(view(first))
            return
        if once:
            return
        try:
            if as_json:
                while True:
                    time.sleep(interval)
                    click.echo(json.dumps(ask(ask="status")))
            with Live(view(first), console=console, screen=True) as live:
                while True:
                    time.sleep(interval)
                    live.update(view(ask(ask="status")))
        except KeyboardInterrupt:
            return


def find_socket(config_file: Path | None, path: Path | None) -> Path:
    """The daemon's socket, by option, configuration or default."""
    if path is not None:
        return path
    return configuration.load(config_file).socket if config_file is not None else SOCKET


def view(found: dict[str, Any]) -> Group:
    """What a status says, for a terminal or as plain text."""
    return Group(*_parts(found))


def _parts(found: dict[str, Any]) -> Iterator[Any]:
    now = found["time"]
    state = "stopping" if found["stopping"] else "running"
    yield Text(
        f"nix-shim {found['version']}, pid {found['pid']}, {state}:"
        f" {len(found['sessions'])} sessions, {found['running']} builds running,"
        f" {len(found['queue'])} waiting",
        style="bold",
    )
    if found["builds"]:
        yield Text("\nbuilds", style="bold")
        yield _builds(found["builds"], now)
    if found["sessions"]:
        yield Text("\nsessions", style="bold")
        yield _sessions(found["sessions"], now)
    if found["recent"]:
        yield Text("\nrecent", style="bold")
        yield listing(found["recent"])


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _builds(builds: list[dict[str, Any]], now: float) -> Table:
    table = _table("package", "system", "strategy", "for", "elapsed", "usually", "now")
    for each in builds:
        usually = each["estimate"]
        table.add_row(
            package(each["derivation"]),
            each["system"],
            each["strategy"] or "-",
            ", ".join(each["peers"]) or "(nobody waits)",
            span(now - each["started"]),
            "-" if usually is None else span(usually),
            each["doing"],
        )
    return table


def _sessions(sessions: list[dict[str, Any]], now: float) -> Table:
    table = _table("peer", "standing", "speaks", "since", "doing")
    for each in sessions:
        table.add_row(
            each["peer"],
            each["standing"],
            each["speaks"],
            span(now - each["since"]),
            each["doing"] or "idle",
        )
    return table


def span(seconds: float) -> str:
    """A time span, to the second."""
    return str(timedelta(seconds=max(0, round(seconds))))
