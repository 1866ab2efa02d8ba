"""`nix-shim record`: write down what a Nix client and its daemon say."""

import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from protocol.errors import RemoteProtocolError
from protocol.store.path import STORE_DIR
from protocol.transcript.record import Header, Protocol
from protocol.version import Number
from shim import tape
from shim.errors import ExitCode, ShimError


def _offer(text: str) -> Number | None:
    try:
        return Number.parse(text) if text else None
    except RemoteProtocolError as error:
        raise ShimError(str(error), code=ExitCode.USAGE) from error


@click.command()
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the recordings; made if it is absent.",
)
@click.option(
    "--listen", "where", type=click.Path(path_type=Path), help="Unix socket to make for clients."
)
@click.option(
    "--upstream", type=click.Path(path_type=Path), help="Unix socket of the daemon they mean."
)
@click.option("--stem", default="session", show_default=True, help="Beginning of the files' names.")
@click.option("--about", default="", help="One line for people, kept in the recording.")
@click.option("--protocol", type=click.Choice([each.value for each in Protocol]), default="worker")
@click.option("--store-dir", default=STORE_DIR, show_default=True)
@click.option("--offer", default="", help="Tell both ends that the other speaks this version.")
@click.argument("program", nargs=-1)
def command(
    folder: Path,
    where: Path | None,
    upstream: Path | None,
    stem: str,
    about: str,
    protocol: str,
    store_dir: str,
    offer: str,
    program: tuple[str, ...],
) -> None:
    """Record sessions between any Nix client and any daemon, one file for each.

    With --listen and --upstream, stand in front of a daemon until interrupted.  With a PROGRAM
    (such as `nix-daemon --stdio`), stand in its place: as the `remote-program` of an SSH store.
    `nix-shim decode transcript FILE` prints a recording; `nix-shim replay` plays either half.
    """
    header = Header(Protocol(protocol), store_dir.rstrip("/"), about)
    version = _offer(offer)
    sockets = where is not None and upstream is not None
    if sockets == bool(program) or (where is None) != (upstream is None):
        raise ShimError(
            "give either --listen and --upstream, or a program to stand in for",
            code=ExitCode.USAGE,
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShimError(f"cannot record into `{folder}`: {error.strerror}") from error

    def make_tape() -> tape.Tape:
        return tape.new_tape(folder, stem, header)

    if program:
        sys.exit(tape.record_program(program, make_tape, version))
    assert where is not None
    assert upstream is not None
    # Who started us may have told background processes to ignore ^C; TERM ends us as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tape.listening(where) as listener:
        click.echo(f"recording what is said at {where} into {folder}; ^C ends it", err=True)
        with suppress(KeyboardInterrupt):
            tape.record_socket(listener, upstream, make_tape, version)
