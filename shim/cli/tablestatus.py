"""`nix-shim table status`: how well the tables answer what boards ask for."""

import json
import time
from pathlib import Path

import click

from shim import config as configuration
from shim.cli.tablefiles import FILE, json_option
from shim.daemon.state import State
from shim.errors import ExitCode, ShimError


@click.command("status")
@click.option("--config", "path", type=FILE, required=True, help="The daemon's configuration.")
@click.option("--last", default=1000, show_default=True, type=click.IntRange(1), help="Requests.")
@json_option
def status(path: Path, last: int, *, as_json: bool) -> None:
    """Say how many of the last requests the tables knew, by peer and reason, and the last scans.

    Requests count that were judged: what a store had, or what a hash proves, needs no table.
    """
    file = configuration.load(path).state_directory / "state.sqlite"
    if not file.exists():
        raise ShimError(
            f"no daemon with this configuration has run: `{file}` is missing",
            code=ExitCode.UNAVAILABLE,
        )
    state = State(file)
    counts, scans = state.lookups(last), state.scans()
    state.close()
    if as_json:
        for one in counts:
            row = {
                "peer": one.peer,
                "found": not one.reason,
                "reason": one.reason,
                "count": one.count,
            }
            click.echo(json.dumps(row))
        for scan in scans:
            row = {"source": scan.source, "outcome": scan.outcome}
            click.echo(json.dumps(row | {"started": scan.started, "seconds": scan.seconds}))
        return
    total = sum(one.count for one in counts)
    found = sum(one.count for one in counts if not one.reason)
    click.echo(f"{found} of the last {total} requests found")
    for one in counts:
        click.echo(f"  {one.peer}: {one.count} {one.reason or 'found'}")
    for scan in scans:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(scan.started))
        click.echo(f"source {scan.source}: {when}, {scan.seconds:.1f} s: {scan.outcome}")
