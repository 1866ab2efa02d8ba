"""`nix-shim gates`: judge files as a planted result would be judged, and list the rules."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import click

from protocol.store.path import STORE_DIR, StorePath
from shim import config as configuration
from shim.cli.paths import store_path
from shim.errors import ExitCode
from shim.gates import judge
from shim.gates.rules import RULES
from shim.gates.settings import Settings
from shim.gates.subject import Subject
from shim.gates.verdict import Severity, Verdict
from shim.systems import SYSTEMS

_config = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The daemon's configuration, for what its `gates` table says.",
)


@click.group()
def command() -> None:
    """Judge built outputs as a planted result would be."""


@command.command("check-output")
@click.argument("outputs", nargs=-1, required=True, metavar="[NAME=]PATH...")
@click.option("--system", required=True, help="Nix system that the result must be for.")
@click.option("--build-system", default="x86_64-linux", show_default=True)
@click.option("--name", default=None, help="Name of the derivation  [default: the `out` path's]")
@click.option(
    "--root",
    "roots",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    default=[Path("/")],
    show_default=True,
    help="Physical root of the store; further ones may hold the files of allowed paths.",
)
@click.option("--store-dir", default=STORE_DIR, show_default=True)
@click.option(
    "--allowed",
    type=click.File(),
    default=None,
    help="File with a store path a line that the result may refer to (`-`: standard input).",
)
@click.option(
    "--forbidden",
    type=click.File(),
    default=None,
    help="File with a store path and a reason a line.",
)
@click.option(
    "--visible",
    type=click.File(),
    default=None,
    help="File with everything that the build could see: any other path is then sample text.",
)
@_config
@click.option("--scratch", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True)
def check_output_command(
    outputs: tuple[str, ...],
    system: str,
    build_system: str,
    name: str | None,
    roots: tuple[Path, ...],
    store_dir: str,
    allowed: TextIO | None,
    forbidden: TextIO | None,
    visible: TextIO | None,
    config_file: Path | None,
    scratch: Path | None,
    *,
    as_json: bool,
) -> None:
    """Judge the files of store paths; exit with 1 if they would be rejected.

    A PATH without NAME is the output `out`.  For a complete judgement give the native input closure
    as --allowed (`nix-store --query --requisites` of the native derivation's inputs).
    """
    named = dict(_output(text, store_dir) for text in outputs)
    first = next(iter(named.values()))
    subject = Subject(
        name=name or named.get("out", first).name,
        system=SYSTEMS[system],
        build_system=SYSTEMS[build_system],
        outputs=named,
        root=roots[0],
        closure_roots=roots[1:],
        store_dir=store_dir,
        allowed=frozenset(path for path, _ in _paths(allowed, store_dir)) | set(named.values()),
        forbidden={
            path.digest: reason or "it is forbidden"
            for path, reason in _paths(forbidden, store_dir)
        },
        visible=None
        if visible is None
        else frozenset(path for path, _ in _paths(visible, store_dir)),
    )
    settings = _settings(config_file)
    verdict = judge(subject, replace(settings, scratch=scratch or settings.scratch))
    _print(verdict, as_json=as_json)
    if not verdict.accepted:
        sys.exit(ExitCode.FAILURE)


@command.command("rules")
@_config
@click.option("--json", "as_json", is_flag=True)
def rules_command(config_file: Path | None, *, as_json: bool) -> None:
    """List the rules, their weights, and the exceptions: ours, then the configuration's."""
    if as_json:
        rows = {
            rule: {
                "severity": known.severity.name.lower(),
                "title": known.title,
                "advice": known.advice,
            }
            for rule, known in RULES.items()
        }
        click.echo(json.dumps(rows, indent=2))
        return
    for rule, known in RULES.items():
        click.echo(f"{known.severity.name.lower():8} {rule:26} {known.title}")
    click.echo("\nExceptions, the last that applies decides:")
    for override in _settings(config_file).overrides:
        click.echo(
            f"{override.severity.name.lower():8} {override.rule:26} "
            f"{override.name} {override.path}: {override.reason}"
        )


def _settings(config_file: Path | None) -> Settings:
    return Settings() if config_file is None else configuration.load(config_file).gates


def _output(text: str, store_dir: str) -> tuple[str, StorePath]:
    name, separator, path = text.partition("=")
    if not separator or "/" in name:
        name, path = "out", text
    return name, store_path(path, store_dir)


def _paths(file: TextIO | None, store_dir: str) -> Iterator[tuple[StorePath, str]]:
    for line in file or ():
        path, _, reason = line.strip().partition(" ")
        if path:
            yield store_path(path, store_dir), reason


def _print(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(verdict.as_json(), indent=2))
        return
    for finding in verdict.findings:
        click.echo(str(finding))
        if finding.severity > Severity.NOTE:
            click.echo(f"  {finding.advice}")
    click.echo(verdict.summary())
