"""`nix-shim serve`: run the daemon."""

from pathlib import Path
from typing import Literal

import click

from shim import config as configuration
from shim import log
from shim.cli.options import DAEMON_CONFIG, LOG_LEVEL, LOG_STYLE


@click.command()
@DAEMON_CONFIG
@LOG_STYLE
@LOG_LEVEL
def command(path: Path, log_style: str, log_level: str) -> None:
    """Answer Nix clients on a Unix socket until SIGTERM.

    Everything the daemon needs is checked before the socket opens: its nix-daemons, binfmt_misc
    registrations, the kernel and the tables; what is missing is named with its remedy.
    """
    from shim.daemon.server import serve  # noqa: PLC0415 - trio is imported by this command only
    from shim.metrics import Metrics  # noqa: PLC0415 - only the daemon counts

    metrics = Metrics() if configuration.load(path).metrics.enable else None
    style: Literal["console", "json"] = "json" if log_style == "json" else "console"
    log.set_up(style, log_level, metrics.observe if metrics else None)
    serve(lambda: configuration.load(path), metrics)
