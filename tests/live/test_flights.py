"""Builds are shared, take turns, tell that they live, and outlive clients and collections."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import flights, world
from tests.live.conftest import Pair
from tests.live.flights import Asking, wait_for
from tests.live.world import Board, GatewayDoor, Shim, SshDoor

MakeShim = Callable[..., Shim]
MakeBoard = Callable[..., Board]
SECONDS = "10"


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A package that takes its time."""
    return flights.slow(tmp_path_factory.mktemp("slow"), seconds=SECONDS)


@pytest.fixture
def board(slow: Pair, make_board: MakeBoard) -> Callable[[str], Board]:
    """Boards that want it."""
    return lambda name: flights.prepare(make_board(name=name), slow)


def started(shim: Shim, pair: Pair) -> int:
    """How many builds of it began."""
    return sum(
        "build-started" in line and pair.native in line
        for line in shim.log.read_text().splitlines()
    )


def vanish(board: Board, shim: Shim, pair: Pair) -> None:
    """Ask for a package over SSH, and lose the connection while it is built."""
    door = GatewayDoor(shim.base / "gateway", shim.socket, settings="keepalive = 1")
    with door:
        asking = Asking(board, door.builder(), pair, NIX_SSHOPTS=door.options())
        wait_for(lambda: flights.sleeping(shim, SECONDS) == 1)
        asking.freeze()
        wait_for(lambda: "vanished=True" in shim.log.read_text())
    asking.kill()


def test_two_boards_share_a_build_and_hear_it_from_its_start(
    slow: Pair, board: Callable[[str], Board], make_shim: MakeShim
) -> None:
    shim = make_shim(slow)
    first = Asking(board("first"), shim.builder(), slow)
    other = board("second")
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 1)
    second = Asking(other, shim.builder(), slow)
    assert (first.ends(), second.ends()) == (0, 0)
    assert started(shim, slow) == 1
    for asking in (first, second):
        assert "now it waits" in asking.said
        assert "slow-1.0: cross-compiled at its native path" in asking.said
        assert slow.out in asking.said


def test_a_build_whose_client_vanished_is_boarded_again(
    slow: Pair, board: Callable[[str], Board], make_shim: MakeShim
) -> None:
    shim, asker = make_shim(slow), board("asker")
    vanish(asker, shim, slow)
    assert flights.sleeping(shim, SECONDS) == 1
    again = Asking(asker, shim.builder(), slow)
    assert again.ends() == 0
    assert "now it waits" in again.said
    assert started(shim, slow) == 1


@pytest.mark.long
def test_a_build_that_nobody_came_back_for_ends(
    slow: Pair, board: Callable[[str], Board], make_shim: MakeShim
) -> None:
    shim = make_shim(slow, deadlines={"grace": 1})
    vanish(board("asker"), shim, slow)
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 0, float(SECONDS) - 3)
    assert not shim.serves(slow.out)


def test_an_interrupt_ends_a_build_unless_somebody_else_waits(
    slow: Pair, board: Callable[[str], Board], make_shim: MakeShim
) -> None:
    shim, first, second = make_shim(slow), board("first"), board("second")
    one, other = Asking(first, shim.builder(), slow), Asking(second, shim.builder(), slow)
    wait_for(lambda: shim.log.read_text().count("client-opened") == 2)
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 1)
    time.sleep(0.5)
    one.interrupt()
    wait_for(lambda: "vanished=False" in shim.log.read_text())
    assert other.ends() == 0
    assert started(shim, slow) == 1

    store = f"local?root={shim.serving_root}"
    flights.forget(store, slow.out)
    alone = Asking(first, shim.builder(), slow)
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 1)
    alone.interrupt()
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 0, float(SECONDS) - 3)
    assert not shim.serves(slow.out)


def test_silent_builds_and_waiting_ones_say_that_they_live(
    slow: Pair, make_board: MakeBoard, make_shim: MakeShim, tmp_path: Path
) -> None:
    other = flights.slow(tmp_path, seconds=SECONDS, nonce="another")
    shim = make_shim(slow, other, deadlines={"heartbeat": 1}, more="[limits]\nbuilds = 1\ndisk = 1")
    first = Asking(flights.prepare(make_board(name="first"), slow), shim.builder(), slow)
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 1)
    second = Asking(flights.prepare(make_board(name="second"), other), shim.builder(), other)
    assert (first.ends(), second.ends()) == (0, 0)
    assert "nix-shim: cross-building for" in first.said
    assert "nix-shim: waiting: 1 builds run (limits.builds), place 1 of 1" in second.said
    assert "place 1 of 1 for" in second.said


@pytest.mark.parametrize("suite", [None, pytest.param("trixie", marks=pytest.mark.long)])
def test_why_a_build_failed_is_on_the_users_terminal(
    suite: str | None, make_board: MakeBoard, make_shim: MakeShim, tmp_path: Path
) -> None:
    failing = flights.slow(tmp_path, "failing")
    shim = make_shim(failing)
    board = flights.prepare(make_board(suite=suite), failing)
    with SshDoor(tmp_path / "ssh", shim) as door:
        asked = board.nix(
            *("nix-build", failing.native, "--no-out-link", "--store", board.store),
            *("--max-jobs", "0", "--builders", door.builder()),
            check=False,
            NIX_SSHOPTS=door.options,
        )
    assert asked.returncode != 0
    for strategy in ("cross", "emulate"):
        said = re.search(rf"failing-1.0: {strategy} failed: (.*)", asked.stderr)
        assert said is not None, asked.stderr
    assert "(tests, permanent)" in asked.stderr


STRICT = """
[[rules]]
peers = ["strict"]
cross = false
"""


@pytest.mark.long
def test_a_peer_is_not_handed_a_cross_build_that_its_policy_forbids(
    slow: Pair, board: Callable[[str], Board], make_shim: MakeShim
) -> None:
    shim = make_shim(slow, more=STRICT)
    lax = Asking(board("lax"), shim.builder(), slow)
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 1)
    as_strict = shim.builder().replace("%20stdio", "%20stdio%20--peer%20strict", 1)
    strict = Asking(board("strict"), as_strict, slow)
    assert lax.ends() == 0
    assert strict.ends() != 0
    assert "it was cross-compiled, and policy.cross is off" in strict.said


@pytest.mark.long
def test_inputs_are_made_at_the_same_time(
    make_board: MakeBoard, make_shim: MakeShim, tmp_path: Path
) -> None:
    both = flights.slow(tmp_path, "both", seconds=SECONDS)
    tables = [flights.slow(tmp_path, attribute, seconds=SECONDS) for attribute in ("left", "right")]
    shim = make_shim(both, *tables)
    board = flights.prepare(make_board(), both)
    store = f"local?root={shim.serving_root}"
    for pair in tables:
        flights.forget(board.store, both.out, pair.out)
        world.run(["nix", "copy", "--no-check-sigs", "--to", store, *pair.inputs])
    world.run(["nix", "copy", "--no-check-sigs", "--derivation", "--to", store, both.native])
    asked = f"{both.native}!out"
    asking = world.spawn(["nix-store", "--store", shim.uri(), "--realise", asked])
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 2)
    assert asking.wait(120) == 0
    assert shim.serves(both.out)


def test_a_collection_takes_nothing_that_builds_use_or_that_was_delivered(
    slow: Pair, board: Callable[[str], Board], make_shim: MakeShim
) -> None:
    shim = make_shim(slow, deadlines={"protect": 600})
    store, plant = f"local?root={shim.serving_root}", f"local?root={shim.plant_root}"
    asking = Asking(board("asker"), shim.builder(), slow)
    wait_for(lambda: flights.sleeping(shim, SECONDS) == 1)
    for each in (store, plant):
        world.run(["nix-store", "--store", each, "--gc"])
    assert asking.ends() == 0
    assert "cross-compiled at its native path" in asking.said
    shim.stop()
    shim.start()
    world.run(["nix-store", "--store", store, "--gc"])
    assert shim.serves(slow.out)
    links = shim.serving_root / "nix/var/nix/gcroots/nix-shim"
    assert [link.name for link in (links / "delivered").iterdir()] == [Path(slow.out).name]
    assert not (links / "used").exists()
    for link in (links / "delivered").iterdir():
        link.unlink()
    world.run(["nix-store", "--store", store, "--gc"])
    assert not shim.serves(slow.out)
