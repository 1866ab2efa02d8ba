"""`nix-shim log`: what the last build of a derivation said."""

from contextlib import closing

import click

from shim.cli.options import Kept, state_options
from shim.cli.paths import store_path
from shim.daemon.building.keptlogs import KeptLogs
from shim.errors import ShimError


@click.command()
@click.argument("path")
@state_options
def command(path: str, kept: Kept) -> None:
    """Print the log of the last build of PATH, an output or a .drv.

    It begins with the strategies that were considered; failed ones are in it as well.
    """
    wanted = store_path(path, kept.store_dir)
    with closing(kept.state()) as state:
        makers = state.derivations(wanted)
    logs = KeptLogs(kept.directory)
    for text in filter(None, map(logs.read, makers)):
        click.echo(text, nl=False)
        return
    raise ShimError(
        f"no log of `{wanted}` is kept", hint="only builds that the daemon decided about have one"
    )
