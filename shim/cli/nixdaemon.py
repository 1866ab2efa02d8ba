"""`nix-shim nix-daemon`: become the nix-daemon of one of our stores, for a unit of its own."""

import os
from pathlib import Path

import click

from shim import config as configuration
from shim.cli.options import DAEMON_CONFIG
from shim.config import DEFAULT_DOMAIN
from shim.errors import ExitCode, ShimError

PASSED_ON = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""What a service manager says about sockets that it has opened (sd_listen_fds(3))."""


@click.command()
@click.argument("kind", metavar="serving|plant", type=click.Choice(["serving", "plant"]))
@DAEMON_CONFIG
@click.option("--domain", "name", default=DEFAULT_DOMAIN, show_default=True, help="Whose store.")
def command(kind: str, path: Path, name: str) -> None:
    """Become the nix-daemon of the serving or the plant store, set up as `serve` would start it.

    For service managers that run each nix-daemon as a unit: the configuration has `start = false`
    for that store, and the socket.  The plant store's runs where no emulator is.
    """
    from shim.daemon.nix.nixdaemon import (  # noqa: PLC0415 - trio comes with it
        plant_launch,
        serving_launch,
    )

    loaded = configuration.load(path)
    domain = loaded.all_domains().get(name)
    if domain is None:
        raise ShimError(f"there is no domain `{name}` in `{path}`", code=ExitCode.CONFIG)
    launches = {"serving": serving_launch, "plant": plant_launch}
    launch = launches[kind](loaded, name, domain)
    if launch is None:
        raise ShimError(f"domain `{name}` has no plant store in `{path}`", code=ExitCode.CONFIG)
    launch.socket.parent.mkdir(parents=True, exist_ok=True)
    environment = {**launch.environment, **{n: os.environ[n] for n in PASSED_ON if n in os.environ}}
    try:
        os.execvpe(launch.command[0], launch.command, environment)  # noqa: S606 - the configured program
    except OSError as error:
        raise ShimError(
            f"cannot run `{launch.command[0]}`: {error.strerror}", code=ExitCode.UNAVAILABLE
        ) from error
