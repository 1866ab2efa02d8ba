"""`nix-shim decode`: bytes of Nix's protocols as JSON, and recordings as one line per message."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from protocol.errors import ProtocolError
from protocol.store.path import STORE_DIR
from protocol.transcript.decode import messages
from protocol.transcript.record import Header
from protocol.version import Dialect, Number
from shim.cli.lines import lines
from shim.errors import ExitCode, ShimError
from shim.valuejson import form
from shim.valuejson.convert import to_json, to_json_list
from shim.valuejson.types import NEWEST, TYPES, Protocol, Readings, readings


def read_input(name: str) -> bytes:
    """The bytes of a file, or of standard input for `-`.

    Raises:
        ShimError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ShimError(f"cannot read `{name}`: {error.strerror}") from error


def read_pieces(name: str) -> Iterator[bytes]:
    """The bytes of a file or of standard input, piece by piece: recordings may be long.

    Raises:
        ShimError: it cannot be read.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            while piece := file.read(1 << 16):
                yield piece
    except OSError as error:
        raise ShimError(f"cannot read `{name}`: {error.strerror}") from error


def _print_types(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    for protocol, types in TYPES.items():
        for name in sorted(types):
            click.echo(f"{protocol} {name}")
    context.exit()


def _dialect(protocol: Protocol, version: str, features: tuple[str, ...], store: str) -> Dialect:
    number = Number.parse(version) if version else NEWEST[protocol]
    if version and number.major != NEWEST[protocol].major:
        raise ShimError(
            f"the {protocol} protocol has no version `{version}`",
            hint=f"its versions begin with `{NEWEST[protocol].major}.`",
            code=ExitCode.USAGE,
        )
    return Dialect(number, frozenset(features), store.rstrip("/"))


def type_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a type; the command gets its readings, and the dialect."""

    @click.option(
        "--protocol", type=click.Choice([protocol.value for protocol in Protocol]), default="common"
    )
    @click.option("--version", default="", help="Such as 1.37; the newest otherwise.")
    @click.option(
        "--feature", "features", multiple=True, help="Of the worker protocol; repeatable."
    )
    @click.option("--type", "name", default="", help="Its name; see --list.")
    @click.option("--many", is_flag=True, help="Values one after the other; JSON is a list.")
    @click.option("--store-dir", default=STORE_DIR, show_default=True)
    @click.option(
        "--list",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_types,
        help="Print the names of all types.",
    )
    @functools.wraps(command)
    def wrapped(
        protocol: str,
        version: str,
        features: tuple[str, ...],
        name: str,
        store_dir: str,
        **rest: Any,
    ) -> None:
        if not name:
            command(ways=None, dialect=None, **rest)
            return
        family = Protocol(protocol)
        try:
            dialect = _dialect(family, version, features, store_dir)
            ways = readings(family, name, dialect)
        except ProtocolError as error:
            raise ShimError(
                str(error), hint="`--list` prints the names of all types", code=ExitCode.USAGE
            ) from error
        command(ways=ways, dialect=dialect, **rest)

    return wrapped


def needs_type(ways: Readings | None) -> Readings:
    """The readings, if a type was named.

    Raises:
        ShimError: none was.
    """
    if ways is None:
        raise ShimError(
            "no type was named", hint="give `--type`; `--list` prints all", code=ExitCode.USAGE
        )
    return ways


@click.command()
@type_options
@click.argument("words", nargs=-1, required=True, metavar="[transcript] FILE")
def command(words: tuple[str, ...], ways: Readings | None, dialect: Any, many: bool) -> None:
    """Print the values in FILE (`-`: standard input) as JSON.

    `transcript FILE` prints a recording, one line per message.
    """
    match words:
        case ("transcript", file):
            print_transcript(file)
        case (file,):
            print_values(file, needs_type(ways), dialect, many=many)
        case _:
            raise ShimError("give one file, or `transcript` and one file", code=ExitCode.USAGE)


def print_values(file: str, ways: Readings, dialect: Dialect, *, many: bool) -> None:
    """Print what a file holds as JSON.

    Raises:
        ShimError: it holds something else.
    """
    try:
        value = (to_json_list if many else to_json)(ways, read_input(file), dialect)
    except ProtocolError as error:
        raise ShimError(f"cannot decode `{file}`: {error}", code=ExitCode.DATA) from error
    click.echo(form.render(value))


def print_transcript(file: str) -> None:
    """Print a recording, one line per message; what is understood is printed before a complaint.

    Raises:
        ShimError: it is none, or a program in it broke the protocol.
    """

    def announce(header: Header) -> None:
        click.echo(f"# {header.protocol} protocol, {header.store_dir}: {header.about}")

    try:
        for line in lines(messages(read_pieces(file), announce)):
            click.echo(line)
    except ProtocolError as error:
        raise ShimError(f"cannot go on in `{file}`: {error}", code=ExitCode.DATA) from error
