"""`nix-shim replay`: play one half of a recording against a living program."""

import sys
from pathlib import Path
from typing import Final

import click

from protocol.transcript.compare import EXEMPTIONS, USUAL
from protocol.transcript.replay import Report
from shim import replaying, tape
from shim.errors import ExitCode, ShimError

LONGEST: Final = 2000
"""Characters of a message in the account of a difference."""


def _print_exemptions(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    for name, exemption in EXEMPTIONS.items():
        usual = " (usual)" if name in USUAL else ""
        click.echo(f"{name:<12} {exemption.reason}{usual}")
    context.exit()


def _show(file: Path, report: Report) -> None:
    for difference in report.differences:
        click.echo(f"{file}: request {difference.exchange}, {difference.request}:")
        for sign, said in (("-", difference.recorded), ("+", difference.heard)):
            other = difference.heard if sign == "-" else difference.recorded
            for line in said:
                if line not in other:
                    click.echo(f"  {sign} {line[:LONGEST]}")
    end = ", interrupted" if report.interrupted else ""
    click.echo(
        f"{file}: {report.compared} compared, {len(report.differences)} different{end}", err=True
    )


@click.command()
@click.option(
    "--client",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Recording whose client is played.",
)
@click.option(
    "--against", type=click.Path(path_type=Path), help="Unix socket of the living daemon."
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Recording whose server is played; repeatable, one for each connection.",
)
@click.option(
    "--listen", "where", type=click.Path(path_type=Path), help="Unix socket to make for clients."
)
@click.option(
    "--exempt",
    multiple=True,
    type=click.Choice(list(EXEMPTIONS)),
    help="Something more that may differ; repeatable.",
)
@click.option("--strict", is_flag=True, help="Exempt nothing but what --exempt names.")
@click.option(
    "--patience",
    default=replaying.PATIENCE,
    show_default=True,
    help="Seconds that the other end may be silent.",
)
@click.option(
    "--exemptions",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_exemptions,
    help="Print what may differ, each with its reason.",
)
def command(
    client: Path | None,
    against: Path | None,
    servers: tuple[Path, ...],
    where: Path | None,
    exempt: tuple[str, ...],
    strict: bool,
    patience: float,
) -> None:
    """Play one half of a recording; exit with 1 if the other half differs.

    `--client FILE --against SOCKET` asks a living daemon what the recorded client asked, and
    compares the answers.  `--server FILE --listen SOCKET` answers a living client as the recorded
    daemon did, and compares the questions.
    """
    allowed = frozenset(exempt) | (frozenset() if strict else USUAL)
    differs = False
    if client is not None and against is not None and not servers and where is None:
        report = replaying.replay_client(client, against, allowed, patience)
        _show(client, report)
        differs = bool(report.differences)
    elif servers and where is not None and client is None and against is None:
        for file in servers:
            replaying.read(file)
        with tape.listening(where) as listener:
            for file, report in replaying.replay_server(servers, listener, allowed, patience):
                _show(file, report)
                differs = differs or bool(report.differences)
    else:
        raise ShimError(
            "give --client and --against, or --server and --listen", code=ExitCode.USAGE
        )
    sys.exit(int(differs))
