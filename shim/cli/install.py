"""`nix-shim install`: units, users and folders for a service manager, where there is no NixOS.

`shim/units.json` describes the units; nixos-module/host.nix is made of the same file.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click

from shim.config import DEFAULT_DOMAIN
from shim.errors import ExitCode, ShimError

SYSUSERS: Final = """\
# The SSH server runs as this user; nobody logs in as it.
u nix-shim-gateway - "nix-shim SSH server" /var/lib/nix-shim-gateway
"""

TMPFILES: Final = """\
d /run/nix-shim 0755 root root -
d /run/nix-shim-stores 0700 root root -
d /var/lib/nix-shim 0711 root root -
d /var/lib/nix-shim-gateway 0700 nix-shim-gateway nix-shim-gateway -
"""

PATH: Final = (
    "/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
"""Where services look for programs: that of Nix's own installer comes first."""

EXAMPLE: Final = """\
# nix-shim: every key with its meaning is in docs/configuration.md.
socket = "/run/nix-shim/socket"
systems = ["aarch64-linux"]
tables = []                     # nix-shim table scan --help

[serving]                       # the store that boards see; a unit runs its nix-daemon
root = "/var/lib/nix-shim/serve"
start = false
socket = "/run/nix-shim-stores/serving"
settings = { substituters = "https://cache.nixos.org local?root=/&trusted=true" }

[plant]                         # where planted builds happen
root = "/var/lib/nix-shim/plant"
start = false
socket = "/run/nix-shim-stores/plant"

[policy]
cross = false                   # true: the opt-in; it needs a table

# [peers.attic]
# keys = ["ssh-ed25519 AAAA... root@attic"]
"""


@click.command()
@click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/usr/local"),
    show_default=True,
    help="Where lib/systemd/system and the like are made.",
)
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    default=Path("/etc/nix-shim.toml"),
    show_default=True,
    help="The configuration that the units name; an example is written if there is none.",
)
@click.option("--command", "program", default="", help="The nix-shim to run  [default: this one]")
@click.option("--list", "only_list", is_flag=True, help="Say what would be written, and leave.")
def command(prefix: Path, config: Path, program: str, *, only_list: bool) -> None:
    """Write systemd units, sysusers and tmpfiles, and an example configuration.

    Nothing is started and nothing that exists is overwritten except files of an earlier install.
    """
    program = program or _this_program()
    written = dict(files(prefix, config, program))
    for path, text in written.items():
        if not only_list:
            _write(path, text)
        click.echo(path)
    if not config.exists():
        if not only_list:
            _write(config, EXAMPLE)
        click.echo(config)
    if not only_list:
        click.echo(
            "\nNext:\n"
            f"  edit {config}; nix-shim check-config {config}\n"
            "  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload\n"
            "  systemctl enable --now nix-shim.service nix-shim-gateway.service"
            " nix-shim-collect-garbage.timer\n"
            f"  nix-shim doctor --config {config}"
        )


def files(prefix: Path, config: Path, program: str) -> Iterator[tuple[Path, str]]:
    """Every file of an installation: its path and text."""
    for name, unit in units().items():
        if "Service" in unit:
            unit["Service"].setdefault("Environment", f"PATH={PATH}")
        stem = name.rpartition(".")[0]
        words = {
            "@command@": program,
            "@config@": str(config),
            "@domain@": DEFAULT_DOMAIN,
            "@kill@": shutil.which("kill") or "kill",
            "@store@": stem.removeprefix("nix-shim-"),
            "@stores@": " ".join(f"nix-shim-{store}.socket" for store in ("serving", "plant")),
            "@unit@": stem,
        }
        text = render(unit)
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        yield prefix / "lib/systemd/system" / name, text
    yield prefix / "lib/sysusers.d/nix-shim.conf", SYSUSERS
    yield prefix / "lib/tmpfiles.d/nix-shim.conf", TMPFILES


def units() -> dict[str, dict[str, dict[str, Any]]]:
    """The units: file name -> section -> setting -> value."""
    text = (resources.files("shim") / "units.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(text)
    return found


def render(unit: Mapping[str, Mapping[str, Any]]) -> str:
    """A unit file."""
    parts = []
    for section, settings in unit.items():
        lines = [
            f"{name}={_value(each)}"
            for name, value in settings.items()
            for each in (value if isinstance(value, list) else [value])
        ]
        parts.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(parts) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _this_program() -> str:
    found = shutil.which(sys.argv[0])
    if found is None:
        raise ShimError(
            f"where is this program? `{sys.argv[0]}` is not on PATH",
            hint="name it: --command /opt/nix-shim/bin/nix-shim",
            code=ExitCode.USAGE,
        )
    return str(Path(found).absolute())


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ShimError(
            f"cannot write `{path}`: {error.strerror}", hint="run as root, or name another --prefix"
        ) from error
