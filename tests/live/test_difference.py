"""The difference run: the same commands to a nix-daemon directly and through the shim.

Same output, same exit code, same store afterwards, for clients and daemons of three versions; what
may differ is listed in `tests.live.sidebyside.EXEMPT`.
"""

import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark.structures import ParameterSet

from tests.live import world
from tests.live.sidebyside import Side, both
from tests.live.test_endings import wait_for

COMMANDS = {
    section.partition("\n")[0]: section.partition("\n")[2]
    for section in Path(__file__).with_name("difference.sh").read_text().split("# == ")[1:]
}

SUITES = (None, "trixie", "sid")


def combinations(*daily: str | None) -> Iterator[ParameterSet]:
    """All clients with all daemons; those of one suite, one of `daily`, are no long tests."""
    for client in SUITES:
        for daemon in SUITES:
            everyday = client == daemon and client in daily
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


@pytest.mark.parametrize(("client", "daemon"), list(combinations(None, "trixie")))
def test_nobody_can_tell_the_shim_from_the_daemon(
    client: str | None, daemon: str | None, folder: Path
) -> None:
    needs(client)
    needs(daemon)
    with both(folder, client, daemon) as (direct, relayed):
        for name, script in COMMANDS.items():
            assert relayed.run(script) == direct.run(script), name
        assert without_signatures(relayed.contents()) == without_signatures(direct.contents())


DELEGATE: Final = """\
export NIX_REMOTE=local?root=$BASE/board
builder="ssh-ng://localhost?remote-program=$PROGRAM x86_64-linux - 4 1 ca-derivations - -"
delegate() { nix-build $THINGS -A $1 --no-out-link --max-jobs 0 --builders "$builder"; }
"""
"""A board; its builder is the machine of the daemon."""

TRUSTED: Final = "trust-boards = true\n"
"""The daemons that stand beside the shim trust whoever runs the tests."""

# What a shell starts in the background would not hear the signal otherwise.
INTERRUPTED: Final = """\
env --default-signal=INT nix-build $THINGS -A slow --no-out-link $more &
until [ -e $BASE/interrupt ]; do sleep 0.1; done
kill -INT $!
wait $!
"""
WAYS: Final = {
    "local": INTERRUPTED,
    "remote": DELEGATE + INTERRUPTED.replace("$more", '--max-jobs 0 --builders "$builder"'),
}


def builds(side: Side) -> bool:
    """Whether the builder of `slow` runs in the sandbox of a store of that side."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (
                b"sleep 61.25" in process.joinpath("cmdline").read_bytes()
                and str(side.base) in process.joinpath("mountinfo").read_text()
            ):
                return True
    return False


def interrupted(side: Side, script: str) -> tuple[tuple[int, str, str], ...]:
    """What a client says that is interrupted within a build, and one that comes afterwards."""
    said: list[tuple[int, str, str]] = []
    client = threading.Thread(target=lambda: said.append(side.run(script)))
    client.start()
    wait_for(lambda: builds(side), 60)
    (side.base / "interrupt").touch()
    client.join(60)
    wait_for(lambda: not builds(side), 30)
    return (*said, side.run("nix-build $THINGS -A tree --no-out-link; nix store ping"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("client", "daemon"), list(combinations(None, "trixie")))
def test_an_interrupted_client_takes_its_build_along_either_way(
    client: str | None, daemon: str | None, way: str, folder: Path
) -> None:
    needs(client)
    needs(daemon)
    with both(folder, client, daemon, TRUSTED) as (direct, relayed):
        said = interrupted(relayed, WAYS[way])
        assert said == interrupted(direct, WAYS[way])
        assert said[0][0] != 0
        assert said[1][0] == 0


@pytest.mark.parametrize(("client", "daemon"), list(combinations(None, "trixie")))
def test_a_builder_is_the_same_through_the_shim(
    client: str | None, daemon: str | None, folder: Path
) -> None:
    """Builder mode, for the machine's own system: boards of it are relayed."""
    needs(client)
    needs(daemon)
    names = "input tree fixed resting failing"
    script = f"{DELEGATE}for name in {names}; do delegate $name; echo $?; done"
    with both(folder, client, daemon, TRUSTED) as (direct, relayed):
        said = relayed.run(script)
        assert said == direct.run(script)
        assert without_signatures(relayed.contents()) == without_signatures(direct.contents())
    assert [line[-5:] for line in said[1].splitlines()] == [
        *("input", "0", "-tree", "0", "fixed", "0", "sting", "0", "1")
    ]
