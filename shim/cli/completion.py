"""`nix-shim completion`: what a shell reads to complete commands and options."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion of commands and options for SHELL.

    bash: `source <(nix-shim completion bash)`; zsh likewise; fish:
    `nix-shim completion fish | source`.  Packages install the output where the shell looks.
    """
    found = get_completion_class(shell)
    assert found is not None
    complete = found(ctx.find_root().command, {}, "nix-shim", "_NIX_SHIM_COMPLETE")
    click.echo(complete.source())
