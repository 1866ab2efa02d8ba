"""The difference run in a store directory of its own, as test suites of Nix's clients are run."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.sidebyside import SSH, Side
from tests.live.test_difference import (
    COMMANDS,
    DELEGATE,
    TRUSTED,
    combinations,
    folder,
    needs,
    without_signatures,
)
from tests.live.test_difference_peers import REFUSED, rootless

__all__ = ["folder"]

BUILT = ["input", "tree", "fixed"]

Said = dict[str, tuple[int, str, str]]


@contextmanager
def alone(folder: Path, client: str | None, daemon: str | None, *, shim: bool) -> Iterator[Side]:
    """One side; the other one comes after it, to the same folder: paths depend on its name."""
    base = folder / "base"
    side = Side(base, daemon, client, shim=shim, more=TRUSTED, own=True)
    try:
        side.start()
        yield side
    finally:
        side.stop()
        subprocess.run(["chmod", "-R", "u+w", base], check=True)
        shutil.rmtree(base)


def everything(side: Side) -> tuple[Said, object]:
    """What a board says, what the commands say as a peer and as the operator, and what is left."""
    said = {"board": side.run(f"{DELEGATE}for name in {' '.join(BUILT)}; do delegate $name; done")}
    for name, script in COMMANDS.items():
        if name not in REFUSED and name != "ping":  # peers hear of trust from any daemon
            said[f"{name}, as a peer"] = side.run(rootless(script), remote=SSH)
    for name, script in COMMANDS.items():
        said[name] = side.run(script)
    return said, without_signatures(side.contents())


@pytest.mark.parametrize(("client", "daemon"), list(combinations(None)))
def test_the_store_directory_is_configuration(
    client: str | None, daemon: str | None, folder: Path
) -> None:
    needs(client)
    needs(daemon)
    with alone(folder, client, daemon, shim=False) as side:
        told, left = everything(side)
    with alone(folder, client, daemon, shim=True) as side:
        here, remains = everything(side)
    for name, said in told.items():
        assert here[name] == said, name
    assert remains == left
    paths = here["board"][1].split()
    assert [path.partition("-")[2] for path in paths] == BUILT
