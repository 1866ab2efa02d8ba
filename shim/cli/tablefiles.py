"""What the commands that make and read tables share: options, writing, and what they say of it."""

import time
from collections import Counter
from pathlib import Path
from typing import Final

import click

from shim.equivalence import describe, file
from shim.equivalence.grades import Role
from shim.equivalence.table import Table
from shim.errors import ShimError

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
