"""`nix-shim keys`: make the signing keys of each kind, and print their public parts."""

import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from protocol.store.signing import PublicKey
from shim.keys import KeyRing, Made, generate, rotate

DIRECTORY: Final = Path("/var/lib/nix-shim/keys")

_directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="Where the secret keys lie.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON: name -> public key.")


@click.group()
def command() -> None:
    """Generate and print the signing keys of each grade.

    Every path the shim delivers is signed with the key of the way it came about; put those you
    accept into `trusted-public-keys` of the stores that use it.
    """


@command.command("generate")
@_directory
@click.option("--name", default=None, help="What key names begin with  [default: the host's name]")
@click.option(
    "--rotate",
    "kind",
    type=click.Choice([made.value for made in Made]),
    default=None,
    help="Make the next key of this kind instead of those that are missing.",
)
@_json
def generate_command(directory: Path, name: str | None, kind: str | None, as_json: bool) -> None:
    """Make the keys that are missing; existing ones are never touched."""
    base = name or socket.gethostname().partition(".")[0]
    if kind is not None:
        _print([rotate(directory, base, Made(kind))], as_json=as_json)
        return
    new = generate(directory, base)
    _print(new, as_json=as_json)
    if not new:
        click.echo(f"`{directory}` has a key of every kind already", err=True)


@command.command("show")
@_directory
@_json
def show_command(directory: Path, as_json: bool) -> None:
    """Print the public parts of all keys, older ones included."""
    _print(KeyRing.load(directory).public.values(), as_json=as_json)


def _print(keys: Iterable[PublicKey], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({key.name: key.render() for key in keys}, indent=2))
        return
    for key in keys:
        click.echo(key.render())
