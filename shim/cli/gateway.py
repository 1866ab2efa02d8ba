"""`nix-shim gateway`: run the SSH server, or show its host key."""

import socket
from pathlib import Path

import click

from shim import config as configuration
from shim import log
from shim.cli.options import DAEMON_CONFIG, LOG_LEVEL, LOG_STYLE


@click.command()
@DAEMON_CONFIG
@click.option("--show-host-key", is_flag=True, help="Print the host key for boards, and leave.")
@LOG_STYLE
@LOG_LEVEL
def command(path: Path, show_host_key: bool, log_style: str, log_level: str) -> None:
    """Let boards in by SSH, with nothing but a key, until SIGTERM.

    Sections `[gateway]` and `[peers.NAME]` of the configuration say who; SIGHUP reads them again.
    A host key is made at the first start.
    """
    from shim.gateway import hostkey, server  # noqa: PLC0415 - asyncssh is for this command only

    loaded = configuration.load(path)
    if show_host_key:
        key = hostkey.find(loaded.gateway)
        line = hostkey.known_hosts(key, socket.gethostname(), loaded.gateway.port)
        click.echo(f"publicHostKey: {hostkey.public_host_key(key)}")
        click.echo(f"known_hosts: {line}")
        return
    log.set_up("json" if log_style == "json" else "console", log_level)
    server.serve(lambda: configuration.load(path), loaded)
