"""`nix-shim collect-garbage`: collect garbage in the serving and plant stores of every domain."""

import json
from pathlib import Path

import click

from shim import config as configuration
from shim.cli.options import DAEMON_CONFIG


@click.command()
@DAEMON_CONFIG
@click.option(
    "--max-freed", type=click.IntRange(1), help="Bytes after which to stop, in each store."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each store.")
def command(path: Path, max_freed: int | None, *, as_json: bool) -> None:
    """Delete what nothing keeps from the stores that the configuration names.

    What is being built, what was delivered in the last `deadlines.protect` seconds, and what has a
    root stays.  The host's own store is left to its own garbage collection.
    """
    from shim.daemon.nix.collecting import collect  # noqa: PLC0415 - trio comes with it

    for store, freed in collect(configuration.load(path), max_freed):
        if as_json:
            click.echo(json.dumps({"store": store, "freed": freed}))
        else:
            click.echo(f"{store}: {freed / (1 << 20):.1f} MiB freed")
