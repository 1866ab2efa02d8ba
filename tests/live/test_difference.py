"""The difference run: the same commands to a nix-daemon directly and through the shim.

Same output, same exit code, same store afterwards, for clients and daemons of three versions; what
may differ is listed in `tests.live.sidebyside.EXEMPT`.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.live import world
from tests.live.sidebyside import Side, both

COMMANDS = {
    section.partition("\n")[0]: section.partition("\n")[2]
    for section in Path(__file__).with_name("difference.sh").read_text().split("# == ")[1:]
}

SUITES = (None, "trixie", "sid")


def combinations() -> Iterator[ParameterSet]:
    for client in SUITES:
        for daemon in SUITES:
            everyday = client == daemon and client != "sid"
            marks = () if everyday else (pytest.mark.long,)
            name = f"{client or 'installed'}-to-{daemon or 'installed'}"
            yield pytest.param(client, daemon, id=name, marks=marks)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, since sockets are in it."""
    made = Path(tempfile.mkdtemp(prefix="sides-"))
    yield made
    subprocess.run(["chmod", "-R", "u+w", made], check=True)
    shutil.rmtree(made)


def needs(suite: str | None) -> None:
    if suite is not None and not (world.CACHE / "roots" / suite / ".complete").exists():
        pytest.skip(f"there is no tree of {suite}: scripts/fetch-nix {suite}")


def without_signatures(contents: dict[str, object]) -> str:
    return re.sub(r"side-1:[A-Za-z0-9+/=]+", "SIGNATURE", repr(contents))


@pytest.mark.parametrize(("client", "daemon"), list(combinations()))
def test_nobody_can_tell_the_shim_from_the_daemon(
    client: str | None, daemon: str | None, folder: Path
) -> None:
    needs(client)
    needs(daemon)
    with both(folder, client, daemon) as (direct, relayed):
        for name, script in COMMANDS.items():
            assert relayed.run(script) == direct.run(script), name
        assert without_signatures(relayed.contents()) == without_signatures(direct.contents())


def interrupted(side: Side) -> tuple[int, bool]:
    """Exit code of an interrupted client, and whether its builder still runs afterwards."""
    code, _, _ = side.run("timeout --signal INT 4 nix-build $THINGS -A slow --no-out-link")
    deadline = time.monotonic() + 10
    runs = True
    while runs and time.monotonic() < deadline:
        time.sleep(0.2)
        runs = any(
            b"61.25" in each.read_bytes()
            for each in Path("/proc").glob("[0-9]*/cmdline")
            if each.exists()
        )
    return code, runs


def test_an_interrupted_client_takes_its_build_along_either_way(folder: Path) -> None:
    with both(folder, None, None) as sides:
        direct, relayed = map(interrupted, sides)
    assert direct == relayed
    assert not relayed[1]


def test_a_builder_is_the_same_through_the_shim(folder: Path) -> None:
    """Builder mode, for the machine's own system: boards of it are relayed."""
    with both(folder, None, None) as sides:
        direct, relayed = (
            side.run(
                "for name in input tree fixed failing; do"
                " NIX_REMOTE=local?root=$BASE/board nix-build $THINGS -A $name --no-out-link"
                " --max-jobs 0 --builders"
                ' "ssh-ng://localhost?remote-program=$PROGRAM x86_64-linux - 4 1 - - -";'
                " echo $?; done"
            )
            for side in sides
        )
        assert relayed == direct
        stores = [set(side.contents()["files"]) for side in sides]  # type: ignore[call-overload]
    assert [line[-5:] for line in relayed[1].splitlines()] == [
        *("input", "0", "-tree", "0", "fixed", "0", "1")
    ]
    # Clients that are not trusted bring the graph, the others a flat derivation.
    assert {name for name in stores[1] if not name.endswith(".drv")} == {
        name for name in stores[0] if not name.endswith(".drv")
    }
