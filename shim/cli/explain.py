"""`nix-shim explain`: what would be done with a derivation, and why not something better.

The running daemon is asked, since it knows stores and caches; without one the configuration's
tables and policy answer, and what only stores know is left open.
"""

import json
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from protocol.store.path import StorePath
from shim import __version__, log
from shim import config as configuration
from shim.asking import NotRunning, asking
from shim.cli.paths import store_path
from shim.cli.status import CONFIG, SOCKET_OPTION, find_socket
from shim.config import Config
from shim.errors import ExitCode, ShimError
from shim.plan.explain import explained, lines

NIX = ("nix", "--extra-experimental-features", "nix-command flakes")


@click.command()
@click.argument("target", metavar="DRV|PATH|INSTALLABLE")
@CONFIG
@SOCKET_OPTION
@click.option("--peer", default="operator", show_default=True, help="For whom it would be built.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
def command(
    target: str, config_file: Path | None, path: Path | None, peer: str, *, as_json: bool
) -> None:
    """Say what would be done with a derivation now, and why nothing better can be done.

    It is named by its .drv, by one of its outputs, or as an installable of this machine's Nix.
    """
    loaded = configuration.load(config_file) if config_file is not None else None
    drv = find_derivation(target, loaded)
    try:
        with asking(find_socket(config_file, path)) as ask:
            found = ask(ask="explain", derivation=drv, peer=peer)
    except NotRunning:
        if loaded is None:
            raise
        click.echo(
            "nix-shim: no daemon runs: what stores and binary caches have is not known", err=True
        )
        found = offline(drv, peer, loaded)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(drv)
    if not found["judged"]:
        click.echo(f"not ours to decide: {found['why']}")
        return
    click.echo(f"for {found['system']}, asked by {peer}")
    for line in lines(found):
        click.echo(line)


def find_derivation(target: str, config: Config | None) -> StorePath:
    """The derivation that `target` names.

    Raises:
        ShimError: nobody knows one.
    """
    store_dir = config.store_dir if config else "/nix/store"
    if not target.startswith(store_dir + "/"):
        return StorePath.parse(_nix("path-info", "--derivation", target), store_dir)
    path = store_path(target, store_dir)
    if path.is_derivation:
        return path
    if config is not None:
        known = _makers(path, config)
        if known:
            return known[0]
    deriver = _run(["nix-store", "--query", "--deriver", path])
    if deriver == "unknown-deriver" or not deriver:
        raise ShimError(
            f"nobody knows which derivation makes `{path}`", hint="name the .drv itself"
        )
    return StorePath.parse(deriver, store_dir)


def _makers(path: StorePath, config: Config) -> list[StorePath]:
    """Derivations that make `path`, as tables and the daemon's memory have it."""
    from shim.daemon.state import State  # noqa: PLC0415 - an installable needs none of these
    from shim.equivalence import file  # noqa: PLC0415 - same

    found = [entry.native for table in config.tables for entry in file.load(table).by_output(path)]
    memory = config.state_directory / "state.sqlite"
    if not found and memory.exists():
        with closing(State(memory, reading=True)) as state:
            found = state.derivations(path)
    return found


def _nix(*arguments: str) -> str:
    return _run([*NIX, *arguments])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except OSError as error:
        raise ShimError(
            f"cannot run `{command[0]}`: {error.strerror}", code=ExitCode.UNAVAILABLE
        ) from error
    if done.returncode != 0:
        raise ShimError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def offline(drv: StorePath, peer: str, config: Config) -> dict[str, Any]:
    """The decision by tables and policy alone."""
    from shim.daemon.building.deciding import NO_COUNTERPART  # noqa: PLC0415 - no daemon, no need
    from shim.daemon.checks import emulation_lack, this_system  # noqa: PLC0415 - same
    from shim.daemon.state import State  # noqa: PLC0415 - same
    from shim.daemon.tables import Tables  # noqa: PLC0415 - same
    from shim.equivalence.source import Derivations  # noqa: PLC0415 - same
    from shim.plan.fixed import counterparts  # noqa: PLC0415 - same
    from shim.plan.planner import Facts, decide  # noqa: PLC0415 - same
    from shim.session.policy import resolve  # noqa: PLC0415 - same

    log.set_up("console", "warning")
    derivation = Derivations.open(config.evaluation.root, config.store_dir)[drv]
    system = derivation.platform
    if system not in config.systems:
        return {
            "derivation": drv,
            "judged": False,
            "why": f"builds for {system} are left to the nix-daemon",
        }
    tables = Tables.load(config)
    entry, no_entry = tables.entry(drv, derivation)
    failed = None
    memory = config.state_directory / "state.sqlite"
    if entry is not None and memory.exists():
        with closing(State(memory, reading=True)) as state:
            failed = state.failure(entry.native, f"{__version__}/{tables.version}")
    wanted = derivation.output_paths()
    makers = tables.makers(min(wanted.values())) if derivation.is_fixed else {}
    found = counterparts(makers, wanted.values(), this_system(), tabled=True)
    facts = Facts(
        path=drv,
        derivation=derivation,
        wanted=wanted,
        valid=frozenset(),
        substitutable=frozenset(),
        entry=entry,
        no_entry=no_entry,
        failed_before=failed,
        emulator=emulation_lack(system, config.platforms),
        counterparts=found,
        no_counterpart="" if found else NO_COUNTERPART,
    )
    policy = resolve(config.policy, config.rules, peer, system, derivation.name)
    decision = decide(facts, policy, tables.plan)
    return {"derivation": drv, "judged": True, "system": system, **explained(decision)}
