"""Options that several commands have, each declared once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from protocol.store.path import STORE_DIR
from shim import config as configuration
from shim.daemon.state import State

DIRECTORY: Final = Path("/var/lib/nix-shim")
"""Where the state is when nobody says otherwise: the configuration's default."""

DAEMON_CONFIG: Final = click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration (TOML), the daemon's own.",
)
LOG_STYLE: Final = click.option(
    "--log-style", type=click.Choice(["console", "json"]), default="console"
)
LOG_LEVEL: Final = click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info"
)

_CONFIG: Final = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The daemon's configuration; names the state directory.",
)
_STATE: Final = click.option(
    "--state",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help=f"The daemon's state directory  [default: the configuration's, or {DIRECTORY}]",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the daemon keeps what it remembers."""

    directory: Path
    store_dir: str

    def state(self) -> State:
        """Its state, to look at; `ShimError` where there is none."""
        return State(self.directory / "state.sqlite", reading=True)


def state_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--config` and `--state`; it gets what they mean as `kept`."""

    @_CONFIG
    @_STATE
    @wraps(command)
    def with_state(
        *arguments: Any, config_file: Path | None, directory: Path | None, **options: Any
    ) -> Any:
        store_dir = STORE_DIR
        if config_file is not None:
            loaded = configuration.load(config_file)
            directory, store_dir = directory or loaded.state_directory, loaded.store_dir
        return command(*arguments, kept=Kept(directory or DIRECTORY, store_dir), **options)

    return with_state
