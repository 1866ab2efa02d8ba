"""`nix-shim log`: what the last build of a derivation said."""

from contextlib import closing
from pathlib import Path

import click

from protocol.store.path import STORE_DIR
from shim import config as configuration
from shim.cli.paths import store_path
from shim.cli.stateoption import CONFIG, DIRECTORY, STATE
from shim.daemon.building.keptlogs import KeptLogs
from shim.daemon.state import State
from shim.errors import ShimError


@click.command()
@click.argument("path")
@CONFIG
@STATE
def command(path: str, config_file: Path | None, directory: Path | None) -> None:
    """Print the log of the last build of PATH, an output or a .drv.

    It begins with the strategies that were considered; failed ones are in it as well.
    """
    store_dir = STORE_DIR
    if config_file is not None:
        loaded = configuration.load(config_file)
        directory, store_dir = directory or loaded.state_directory, loaded.store_dir
    directory = directory or DIRECTORY
    wanted = store_path(path, store_dir)
    with closing(State(directory / "state.sqlite", reading=True)) as state:
        makers = state.derivations(wanted)
    logs = KeptLogs(directory)
    for text in filter(None, map(logs.read, makers)):
        click.echo(text, nl=False)
        return
    raise ShimError(
        f"no log of `{wanted}` is kept", hint="only builds that the daemon decided about have one"
    )
