"""`nix-shim encode`: the JSON of `nix-shim decode` back to bytes."""

import sys
from pathlib import Path
from typing import Any

import click

from protocol.errors import ProtocolError
from shim.cli.decode import needs_type, read_input, type_options
from shim.errors import ExitCode, ShimError
from shim.valuejson import form
from shim.valuejson.convert import from_json, from_json_list
from shim.valuejson.types import Readings


@click.command()
@type_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the bytes; standard output otherwise.",
)
@click.argument("file")
def command(
    file: str, ways: Readings | None, dialect: Any, many: bool, output: Path | None
) -> None:
    """Turn the JSON in FILE (`-`: standard input) into the bytes of its type."""
    try:
        value = form.parse(read_input(file))
        data = (from_json_list if many else from_json)(needs_type(ways), value, dialect)
    except ProtocolError as error:
        raise ShimError(f"cannot encode `{file}`: {error}", code=ExitCode.DATA) from error
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        try:
            output.write_bytes(data)
        except OSError as error:
            raise ShimError(f"cannot write `{output}`: {error.strerror}") from error
