"""The options by which commands find the daemon's state file."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from shim import config as configuration

DIRECTORY: Final = Path("/var/lib/nix-shim")
"""Where the state is when nobody says otherwise: the configuration's default."""

CONFIG: Final = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The daemon's configuration; names the state directory.",
)
STATE: Final = click.option(
    "--state",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help=f"The daemon's state directory  [default: the configuration's, or {DIRECTORY}]",
)


def state_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--config` and `--state`; it gets `state_file`, the path they lead to."""

    @CONFIG
    @STATE
    @wraps(command)
    def with_file(
        *arguments: Any, config_file: Path | None, directory: Path | None, **options: Any
    ) -> Any:
        if config_file is not None:
            directory = directory or configuration.load(config_file).state_directory
        state_file = (directory or DIRECTORY) / "state.sqlite"
        return command(*arguments, state_file=state_file, **options)

    return with_file
