"""The `nix-shim` command: the only reader of `argv`.

`stdio` runs once per connection of a board, so it is recognised before anything else is imported.
"""

import sys


def main() -> None:
    """Run the command named by the first argument."""
    if sys.argv[1:2] == ["stdio"]:
        from shim.stdio import main as stdio  # noqa: PLC0415 - start-up time is its contract

        sys.exit(stdio(sys.argv[2:]))
    from shim.cli import command  # noqa: PLC0415 - click takes longer to import than stdio to run

    command(prog_name="nix-shim")


if __name__ == "__main__":
    main()
