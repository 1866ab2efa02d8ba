"""Boards of every version of the protocol: what they bring, ask for and take away again."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.store.build_result import BuildStatus
from protocol.store.derived_path import ALL_OUTPUTS, Built
from protocol.store.hash import Hash
from protocol.store.path_info import PathInfo
from protocol.version import Number
from protocol.worker.messages import (
    AddToStoreNar,
    BuildDerivation,
    BuildPaths,
    BuildPathsWithResults,
    IsValidPath,
    NarFromPath,
    QueryMissing,
    QueryPathInfo,
    QueryValidPaths,
)
from tests.live import talking, world
from tests.live.talking import Sayings, Talker
from tests.live.world import Shim

MINORS = (21, 22, 23, 25, 26, 27, 28, 29, 30, 32, 33, 34, 35, 37, 38)


@pytest.fixture(scope="module")
def sayings(tmp_path_factory: pytest.TempPathFactory) -> Sayings:
    return talking.make(tmp_path_factory.mktemp("sayings"))


@pytest.fixture(scope="module")
def shim(sayings: Sayings) -> Iterator[Shim]:
    with tempfile.TemporaryDirectory(prefix="versions-") as folder:
        made = Shim(Path(folder), cross=False)
        with made:
            sayings.put(made.serving_root)
            yield made


@pytest.fixture(params=MINORS, ids=lambda minor: f"1.{minor}")
def board(request: pytest.FixtureRequest, shim: Shim) -> Iterator[Talker]:
    with Talker(shim, newest=Number(1, request.param)) as talker:
        yield talker


def test_a_path_goes_up_is_asked_about_and_comes_down(board: Talker) -> None:
    """By itself, as clients below 1.32 send it: raw behind pulls below 1.23, framed since."""
    minor = board.connection.dialect.number.minor
    thing = talking.claimed(talking.proven(f"of-{minor}", b"").path, b"contents " * 1000)
    board.ask(AddToStoreNar(thing.path, thing.info, dont_check_signatures=True), thing.nar)
    assert board.ask(IsValidPath(thing.path)) is True
    assert board.ask(QueryValidPaths(frozenset({thing.path}))) == {thing.path}
    info = board.ask(QueryPathInfo(thing.path))
    assert isinstance(info, PathInfo)
    assert (info.nar_hash, info.nar_size) == (Hash.of(thing.nar), len(thing.nar))
    assert board.ask(NarFromPath(thing.path)) == thing.nar


def test_a_foreign_build_is_made(board: Talker, sayings: Sayings, shim: Shim) -> None:
    """Flat, as all boards can ask; with its graph, as they ask who are not trusted."""
    number = board.connection.dialect.number
    forget(shim, sayings, "plain")
    wanted = Built(sayings.drvs["plain"], ALL_OUTPUTS)
    assert board.ask(QueryMissing((wanted,))).will_build == {sayings.drvs["plain"]}
    flat = board.ask(BuildDerivation(sayings.drvs["plain"], sayings.flat("plain")))
    assert flat.status is BuildStatus.BUILT
    assert bool(flat.built_outputs) is (number >= Number(1, 28))
    assert bool(flat.times_built) is (number >= Number(1, 29))
    board.ask(BuildPaths((wanted,)))
    if number >= Number(1, 34):
        ((_, again),) = board.ask(BuildPathsWithResults((wanted,)))
        assert again.status is BuildStatus.ALREADY_VALID
    assert board.ask(NarFromPath(sayings.out("plain"))) == talking.file_nar(b"plain\n")


def test_a_failure_is_told(board: Talker, sayings: Sayings) -> None:
    result = board.ask(BuildDerivation(sayings.drvs["failing"], sayings.flat("failing")))
    assert not result.is_success
    assert "so it goes" in "\n".join([*board.log, *board.said])


def forget(shim: Shim, sayings: Sayings, name: str) -> None:
    """Have it made anew."""
    store = f"local?root={shim.serving_root}"
    world.run(["nix-store", "--store", store, "--delete", sayings.out(name)], check=False)
