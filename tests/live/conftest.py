"""Live tests: real clients, daemons and compilers.  Skipped, with the reason, where absent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live import world
from tests.live.world import Board, Shim


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here `live`, and skip it where the machine lacks something."""
    here = Path(__file__).parent
    lack = world.lacks()
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.live)
            if lack is not None:
                item.add_marker(pytest.mark.skip(reason=lack))


@dataclass(frozen=True)
class Pair:
    """A package of minipkgs, evaluated both ways, with everything realised that a build needs."""

    attribute: str
    native: str
    cross: str
    outputs: dict[str, str]
    """Of the native derivation: name -> path."""
    inputs: tuple[str, ...]
    """What a board has before it asks: the native derivation's inputs."""
    table: Path
    system: str = "aarch64-linux"

    @property
    def out(self) -> str:
        return self.outputs["out"]

    @property
    def asked(self) -> str:
        """The attribute as a board names it."""
        return f"pkgsFor.{self.system}.{self.attribute}"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """A package by its attribute; native and cross toolchains are built once per session."""
    known: dict[tuple[str, str], Pair] = {}
    folder = tmp_path_factory.mktemp("tables")

    def get(attribute: str, system: str = "aarch64-linux") -> Pair:
        if (system, attribute) not in known:
            native = world.derivation(f"pkgsFor.{system}.{attribute}")
            cross = world.derivation(f"{world.CROSS_SETS[system]}.{attribute}")
            world.build_tools(cross)
            table = world.pair(native, cross, folder / f"{system}-{attribute}.table")
            known[system, attribute] = Pair(
                attribute,
                native,
                cross,
                world.outputs(native),
                tuple(world.inputs(native)),
                table,
                system,
            )
        return known[system, attribute]

    return get


@pytest.fixture(scope="session")
def plant_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plant store for all shims of a session: they run one after the other."""
    return tmp_path_factory.mktemp("plant")


@pytest.fixture
def make_shim(tmp_path: Path, plant_root: Path) -> Iterator[Callable[..., Shim]]:
    """Start shims, each with a serving store of its own; all are stopped at the end."""
    running: list[Shim] = []

    def make(*pairs: Pair, name: str = "shim", **settings: Any) -> Shim:
        shim = Shim(
            tmp_path / name,
            tables=[pair.table for pair in pairs],
            plant=plant_root,
            **settings,
        )
        running.append(shim)
        shim.start()
        return shim

    yield make
    for shim in running:
        shim.__exit__()


@pytest.fixture
def make_board(tmp_path: Path) -> Callable[..., Board]:
    """Boards that have the inputs of some packages and nothing else."""

    def make(*pairs: Pair, name: str = "board", suite: str | None = None) -> Board:
        board = Board(tmp_path / name, suite=suite, shares=(tmp_path,))
        for pair in pairs:
            board.receive(pair.inputs)
        return board

    return make
