"""What the commands that make and read tables share: options, writing, and what they say of it."""

import time
from collections import Counter
from pathlib import Path
from typing import Final

import click

from protocol.errors import ProtocolError
from protocol.store.path import STORE_DIR, StorePath
from shim import config as configuration
from shim.equivalence import describe, file
from shim.equivalence.grades import Role
from shim.equivalence.table import Table
from shim.errors import ExitCode, ShimError
from shim.systems import SYSTEMS, Systems

FILE: Final = click.Path(dir_okay=False, path_type=Path)
EXISTING: Final = click.Path(exists=True, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
output_option = click.option("-o", "--output", type=FILE, required=True, help="File to write.")
derivations_option = click.option(
    "--derivations",
    "where",
    type=EXISTING,
    default="/",
    show_default=True,
    help="Where the .drv files lie: a folder, a .tar, .tar.zst or .tar.xz, or a store's root.",
)


def _platforms(_: click.Context, __: click.Parameter, path: Path | None) -> Systems:
    return SYSTEMS if path is None else configuration.load(path).platforms


platforms_option = click.option(
    "--config",
    "platforms",
    type=FILE,
    callback=_platforms,
    help="Configuration, for its [platforms].",
)
"""The known systems, with those of a configuration laid over them."""


def store_path(text: str, table: Table) -> StorePath:
    """A path as the table's, whatever lies behind its base name.

    Raises:
        ShimError: it is no store path.
    """
    store_dir = next(iter(table)).native.store_dir if len(table) else STORE_DIR
    base = text.removeprefix(f"{store_dir}/").partition("/")[0]
    try:
        return StorePath.of(base, store_dir)
    except ProtocolError as error:
        raise ShimError(str(error), code=ExitCode.USAGE) from error


def why_missing(table: Table, path: str) -> str:
    """Why a table has no entry for a native path."""
    for one in table.unpaired:
        if one.path == path:
            return one.reason
    return "the walk that made this table did not meet it"


def counts(table: Table) -> str:
    """A table in one line."""
    roles = Counter(entry.role for entry in table)
    parts = ", ".join(f"{roles[role]} {role}" for role in Role)
    unpaired = sum(one.native for one in table.unpaired)
    return f"{len(table)} entries ({parts}), {unpaired} native derivations unpaired"


def warn_of_conflicts(table: Table) -> None:
    """Tell on standard error what somebody has to look at."""
    for group in table.conflicts():
        click.echo(f"conflict: `{group[0].native.base}` has several counterparts:", err=True)
        for entry in group:
            click.echo(f"  {describe.line(entry)}", err=True)
    for one in table.unpaired:
        if one.reason.startswith("cannot be read"):
            click.echo(f"`{one.path}` {one.reason}", err=True)


def write(table: Table, path: Path) -> None:
    """Write a table's file.

    Raises:
        ShimError: it cannot be written.
    """
    try:
        file.save(table, path)
    except OSError as error:
        raise ShimError(f"cannot write `{path}`: {error.strerror}") from error


def now() -> str:
    """The time in ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
