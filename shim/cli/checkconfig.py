"""`nix-shim check-config`: whether a configuration can be read, and what may stand in one.

Looks at the file only: no store, no key, no table is opened, so that a build of a NixOS system can
run it.  `nix-shim doctor` looks at the machine.
"""

from pathlib import Path
from typing import Final

import click

from shim import config as configuration
from shim.config import Key

HEAD: Final = """\
# Configuration

One TOML file for `nix-shim serve`, `nix-shim gateway` and the commands that take `--config`. Only
`serving.root` must be given. `nix-shim check-config FILE` names every mistake; this page is what
`nix-shim check-config --reference` says.
"""


@click.command()
@click.argument("path", metavar="FILE", required=False, type=click.Path(path_type=Path))
@click.option(
    "--reference", is_flag=True, help="Print every key with its meaning, as docs/configuration.md."
)
def command(path: Path | None, *, reference: bool) -> None:
    """Check the configuration FILE: every mistake is named with its key.

    The exit code is 78 (EX_CONFIG) when there is one.
    """
    if reference == (path is not None):
        raise click.UsageError("name the file to check, or --reference")
    if path is None:
        click.echo(markdown(), nl=False)
        return
    configuration.load(path)
    click.echo(f"{path}: nothing to complain of")


def markdown() -> str:
    """The page of all keys."""
    parts = [HEAD]
    sections: dict[str, list[str]] = {"": []}
    for key in configuration.reference():
        sections.setdefault(_section(key), []).append(_entry(key))
    shown: dict[tuple[str, ...], str] = {}
    for section, entries in sections.items():
        parts.append(f"## {_title(section)}\n")
        first = shown.setdefault(tuple(entries), section)
        parts += entries if first == section else [f"Keys as in {_title(first)}."]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _section(key: Key) -> str:
    return key.key.rpartition(".")[0]


def _title(section: str) -> str:
    if not section:
        return "Top level"
    return f"`[[{section[:-2]}]]`" if section.endswith("[]") else f"`[{section}]`"


def _entry(key: Key) -> str:
    name = key.key.rpartition(".")[2]
    default = f", default `{key.default}`" if key.default not in {"", "[]"} else ""
    return f"- **`{name}`** ({key.kind}{default}): {key.meaning}"
