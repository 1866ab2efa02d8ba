"""The command line: a table of commands, each imported only when it is asked for."""

import importlib
import os
from typing import Any, Final

import click

from shim import __version__
from shim.errors import ShimError

COMMANDS: Final = {
    "check-config": "Check a configuration, or print what may stand in one.",
    "collect-garbage": "Delete what nothing keeps from the stores.",
    "completion": "Print what a shell reads to complete commands.",
    "decode": "Print protocol bytes, or a recording, in readable form.",
    "doctor": "Check this machine, or a board, and say how to mend what is wrong.",
    "encode": "Turn the JSON of `decode` back into bytes.",
    "explain": "Say what would be done with a derivation, and why.",
    "gates": "Judge built outputs as a planted result would be.",
    "gateway": "Run the SSH server that boards reach.",
    "history": "List the last builds and what became of them.",
    "install": "Write systemd units, where there is no NixOS.",
    "keys": "Generate and print the signing keys of each grade.",
    "log": "Print what the last build of a path said.",
    "nix-daemon": "Become the nix-daemon of a store, for a unit of its own.",
    "plan": "Show what would be planted for a derivation, and why.",
    "record": "Record what a Nix client and its daemon say.",
    "replay": "Play one half of a recording against a living program.",
    "serve": "Run the daemon.",
    "show": "Show what became of a path: verdict, findings, strategy, grade.",
    "status": "Show what the running daemon does.",
    "table": "Make, show and compare equivalence tables.",
}
"""Command name -> help line; the module of the same name, without `-`, holds `command`."""


class _Commands(click.Group):
    """Looks commands up in `COMMANDS`, so that `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        found = importlib.import_module(f"shim.cli.{cmd_name.replace('-', '')}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    ("stdio", "Join standard input and output to the daemon."),
                    *sorted(COMMANDS.items()),
                ]
            )

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):  # no-color.org; click and rich take care of pipes
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ShimError as error:
            click.echo(f"nix-shim: {error.message}", err=True)
            if error.hint:
                click.echo(f"  {error.hint}", err=True)
            ctx.exit(error.code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nix-shim")
def command() -> None:
    """Build native derivations of slow machines on a fast one."""
