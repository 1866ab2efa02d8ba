"""`nix-shim show`: what became of a path: strategies, grade, the gates' verdict and findings.

Reads the daemon's state, also while it runs.  Of paths that came about in another way (fetched for
a build, or uploaded) it knows nothing.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import click

from shim.cli.options import Kept, state_options
from shim.cli.paths import store_path
from shim.daemon.state import BuildRecord
from shim.errors import ShimError


@click.command()
@click.argument("path")
@state_options
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for each attempt, in a list."
)
def command(path: str, kept: Kept, *, as_json: bool) -> None:
    """Show what became of PATH, an output or a .drv: every attempt, oldest first.

    The exit code is 1 when nothing is known of it.
    """
    wanted = store_path(path, kept.store_dir)
    with closing(kept.state()) as state:
        records = [each for drv in state.derivations(wanted) for each in state.builds(drv)]
    if not records:
        raise ShimError(
            f"nothing is known of `{wanted}`",
            hint="only builds that the daemon decided about are kept; ask for an output or a .drv",
        )
    if as_json:
        click.echo(json.dumps([_object(record) for record in records], indent=2))
        return
    click.echo("\n\n".join("\n".join(_lines(record)) for record in records))


def _object(record: BuildRecord) -> dict[str, Any]:
    return {
        "derivation": record.derivation,
        "strategy": record.strategy,
        "outcome": record.outcome,
        "grade": record.grade or None,
        "verdict": record.verdict or None,
        "findings": list(record.findings),
        "peer": record.peer,
        "started": record.started,
        "seconds": record.seconds,
    }


def _lines(record: BuildRecord) -> Iterator[str]:
    begun = datetime.fromtimestamp(record.started, UTC)
    yield record.derivation
    yield f"  {begun:%Y-%m-%d %H:%M:%S} UTC, {record.seconds:.1f} s, for {record.peer}"
    yield f"  strategy  {record.strategy}: {record.outcome}"
    yield f"  grade     {record.grade or '(not signed by us)'}"
    yield f"  verdict   {record.verdict or '(the gates were not asked)'}"
    for finding in record.findings:
        offset = finding["offset"]
        place = finding["path"] if offset is None else f"{finding['path']}+{offset:#x}"
        yield (
            f"    {finding['severity']} {finding['rule']} {place or '(result)'}:"
            f" {finding['message']}"
        )
        if finding["severity"] != "note":
            yield f"      {finding['advice']}"
