"""`nix-shim doctor`: look at the host, or at a board, and say what is wrong and how to mend it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from shim import config as configuration
from shim.doctor.report import Level, Line, dump, examine, worst

MARKS: Final = {
    Level.OK: ("ok  ", "green"),
    Level.WARN: ("warn", "yellow"),
    Level.FAIL: ("FAIL", "red"),
}


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The host's configuration: look at everything that `nix-shim serve` relies on.",
)
@click.option("--board", is_flag=True, help="Look at this machine as a board, and at its builders.")
@click.option(
    "--machines",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --board: a file of machines instead of the setting `builders`.",
)
@click.option("--json", "as_json", is_flag=True, help="A list of objects instead of lines.")
@click.pass_context
def command(
    ctx: click.Context, path: Path | None, machines: Path | None, *, board: bool, as_json: bool
) -> None:
    """Check the fast machine (--config FILE), or a board (--board).

    A line for each finding: ok, warn or FAIL, what was found, how to mend it.  Exit code 0: all is
    well, 1: warnings, 2: something does not work.
    """
    if board == (path is not None):
        raise click.UsageError("name --config FILE on the fast machine, or --board on a board")
    lines: list[Line] = []
    for line in _examine(path, machines):
        lines.append(line)
        if not as_json:
            _show(line)
    if as_json:
        click.echo(dump(lines))
    ctx.exit(worst(lines))


def _examine(path: Path | None, machines: Path | None) -> Iterable[Line]:
    if path is None:
        from shim.doctor.board import CHECKS as BOARD  # noqa: PLC0415 - a board needs this only
        from shim.doctor.board import Board  # noqa: PLC0415 - same

        return examine(BOARD, Board.here(machines))
    from shim.doctor.host import CHECKS as HOST  # noqa: PLC0415 - a host needs this only

    return examine(HOST, configuration.load(path))


def _show(line: Line) -> None:
    mark, colour = MARKS[line.level]
    click.echo(f"{click.style(mark, fg=colour)} {line.check}: {line.found}")
    if line.fix:
        click.echo(f"     {line.fix}")
