"""Whatever dies at whatever stage, and wherever a disk is full: stores stay whole, work goes on.

Stages are seen from outside: by what sleeps below the shim, by its log, by what lies in stores.
After each fault both stores verify, what can be fetched is proven, and the next request, which
needs the only place there is to build in, succeeds.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from protocol.store.path import StorePath
from shim.daemon.state import State
from tests.live import flights, world
from tests.live.conftest import Pair
from tests.live.flights import Asking, wait_for
from tests.live.world import Board, Shim

TOOL, BUILD = "3", "4"
"""Seconds that the tool and the build wait."""

SIZE: Final = "120"
"""MB of the output: long enough to look through and to copy that a fault hits the middle."""


@dataclass
class Rig:
    """A shim with one place to build in, a board, and a package that takes its time."""

    shim: Shim
    board: Board
    pair: Pair
    seen: dict[str, int] = field(default_factory=dict)
    """Event -> how often it was in the log when the client began to ask."""

    @property
    def serving(self) -> str:
        return f"local?root={self.shim.serving_root}"

    @property
    def plant(self) -> str:
        return f"local?root={self.shim.plant_root}"

    def afresh(self) -> None:
        """Let everything be made again: what boards upload as well as what is built."""
        flights.forget(self.board.store, self.pair.out)
        world.run(["nix-store", "--store", self.serving, "--gc"])
        tool = [path.name for path in (self.shim.plant_root / "nix/store").glob("*-slow-tool")]
        flights.forget(self.plant, self.pair.out, *(f"/nix/store/{name}" for name in tool))

    def ask(self) -> Asking:
        log = self.shim.log.read_text()
        self.seen = {event: log.count(event) for event in EVENTS}
        return Asking(self.board, self.shim.builder(), self.pair)

    def happened(self, event: str) -> bool:
        return self.shim.log.read_text().count(event) > self.seen[event]

    def noise(self) -> list[Path]:
        """What the build has written, once it has been put where the gates look."""
        out = self.shim.plant_root / self.pair.out.lstrip("/")
        return list(out.glob("share/noise"))

    def check(self) -> None:
        """See that nothing is broken and that nothing unproven can be fetched."""
        for store in (self.serving, self.plant):
            flights.verify(store)
        assert not list((self.shim.serving_root / "nix/store").glob("*aarch64-unknown*"))
        for path in self.pair.outputs.values():
            if self.shim.serves(path):
                shown = world.run(["nix", "path-info", "--json", "--store", self.serving, path])
                (info,) = json.loads(shown.stdout)
                proven = any(each.startswith("nix-shim-") for each in info.get("signatures", ()))
                assert proven or info["ultimate"], info


EVENTS: Final = ("client-opened", "build-started", "gates-judged", "build-ended")


@pytest.fixture(scope="session")
def slow_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The package: its tool is not in the host's store, so the plant store has to build it."""
    folder = tmp_path_factory.mktemp("faults")
    pair = flights.slow(
        folder, "tooled", tools=False, seconds=BUILD, toolSeconds=TOOL, size=SIZE, nonce="faults"
    )
    world.build_tools(world.derivation(f"{world.CROSS}.zlib"))
    return pair


def make_rig(base: Path, pair: Pair) -> Rig:
    shim = Shim(
        base / "shim",
        tables=[pair.table],
        deadlines={"grace": 2},
        more="[limits]\nbuilds = 1\ndisk = 1",
    )
    board = flights.prepare(Board(base / "board", shares=(base,)), pair)
    return Rig(shim, board, pair)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, slow_pair: Pair) -> Iterator[Rig]:
    rig = make_rig(tmp_path_factory.mktemp("rig"), slow_pair)
    with rig.shim:
        yield rig


def uploads(rig: Rig) -> bool:
    return len(list((rig.shim.serving_root / "nix/store").glob("*-*"))) > 2


STAGES: Final[dict[str, Callable[[Rig], bool]]] = {
    "handshake": lambda rig: rig.happened("client-opened"),
    "upload": uploads,
    "realise": lambda rig: flights.sleeping(rig.shim, TOOL) > 0,
    "plant": lambda rig: flights.sleeping(rig.shim, BUILD) > 0,
    "gates": lambda rig: bool(rig.noise()) and not flights.sleeping(rig.shim, BUILD),
    "import": lambda rig: rig.happened("gates-judged"),
    "reply": lambda rig: rig.happened("build-ended"),
    "download": lambda rig: rig.board.physical(rig.pair.out).exists(),
}
"""Stage of a remote build -> how it is seen to be reached."""

VICTIMS: Final[dict[str, Callable[[Rig, Asking], None]]] = {
    "client": lambda _, asking: asking.kill(),
    "serving": lambda rig, _: flights.kill_all(flights.daemons(rig.shim, "serving")),
    "plant": lambda rig, _: flights.kill_all(flights.daemons(rig.shim, "plant")),
    "shim": lambda rig, _: rig.shim.kill(),
}

EVERYDAY: Final = {
    ("plant", "serving"),
    ("import", "shim"),
    ("download", "client"),
}
"""The others belong to `make test-all`."""


@pytest.mark.parametrize(
    ("stage", "victim"),
    [
        pytest.param(
            stage,
            victim,
            id=f"{victim} at {stage}",
            marks=() if (stage, victim) in EVERYDAY else (pytest.mark.long,),
        )
        for stage in STAGES
        for victim in VICTIMS
    ],
)
def test_what_dies_leaves_stores_whole_and_work_goes_on(stage: str, victim: str, rig: Rig) -> None:
    rig.afresh()
    asking = rig.ask()
    wait_for(lambda: STAGES[stage](rig) or asking.process.poll() is not None, 240)
    assert asking.process.poll() is None, asking.said
    VICTIMS[victim](rig, asking)
    asking.ends(240)
    if victim == "shim":
        rig.shim.start()
    for store in ("serving", "plant"):
        wait_for(lambda store=store: world.accepts(rig.shim.base / "state" / store / "socket"))  # type: ignore[misc] # mypy: lambda default
    wait_for(lambda: not flights.sleeping(rig.shim, BUILD), 60)
    rig.check()
    rig.afresh()
    again = rig.ask()
    assert again.ends(240) == 0, again.said
    assert "cross-compiled at its native path" in again.said
    rig.check()


def test_half_an_import_is_taken_back_before_the_socket_opens(
    slow_pair: Pair, tmp_path: Path
) -> None:
    """As a kill leaves it between the registrations of two outputs."""
    shim = Shim(tmp_path, tables=[slow_pair.table])
    store = f"local?root={shim.serving_root}"
    named = {Path(path).name[33:]: path for path in slow_pair.inputs}
    whole, half, missing = (
        next(path for name, path in named.items() if name.startswith(prefix))
        for prefix in ("bash-", "slow-tool", "default-builder")
    )
    world.run(["nix", "copy", "--no-check-sigs", "--to", store, whole, half])
    state = State(tmp_path / "state" / "state.sqlite")
    state.begin_import("default", frozenset({StorePath(half), StorePath(missing)}))
    state.begin_import("default", frozenset({StorePath(whole)}))
    state.close()
    with shim:
        assert (shim.serves(whole), shim.serves(half)) == (True, False)
        assert "import-taken-back" in shim.log.read_text()
    flights.verify(store)


@dataclass
class Disk:
    """A file system of its own that can be made full."""

    where: Path

    def __enter__(self) -> "Disk":  # noqa: PYI034 - never subclassed
        self.where.mkdir(parents=True)
        self._mount("-t", "tmpfs", "-o", "size=3g,mode=755", "tmpfs", str(self.where))
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", self.where], check=True)

    def leave(self, megabytes: int) -> None:
        """Let so much be free from now on."""
        shown = world.run(["df", "--block-size=M", "--output=used", self.where]).stdout
        used = int(shown.split()[-1].removesuffix("M"))
        self._mount("-o", f"remount,size={used + megabytes}m", str(self.where))

    @staticmethod
    def _mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)


@dataclass
class Full:
    """A disk that is full at a stage, and what becomes of the request."""

    at: str
    store: str
    leaves: int
    """MB."""
    says: str
    succeeds: bool


FULL: Final = {
    "upload": Full("handshake", "serve", 40, "No space left on device", succeeds=False),
    "plant": Full("plant", "plant", 30, "(disk, transient)", succeeds=True),
    "import": Full("plant", "serve", 30, "(disk, transient)", succeeds=False),
}


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, slow_pair: Pair
) -> Iterator[tuple[Rig, dict[str, Disk]]]:
    base = tmp_path_factory.mktemp("small")
    with Disk(base / "shim" / "serve") as serve, Disk(base / "shim" / "plant") as plant:
        rig = make_rig(base, slow_pair)
        with rig.shim:
            yield rig, {"serve": serve, "plant": plant}


@pytest.mark.long
@pytest.mark.parametrize("stage", FULL)
def test_a_full_disk_is_told_and_forgotten_once_there_is_room(
    stage: str, small: tuple[Rig, dict[str, Disk]]
) -> None:
    rig, disks = small
    full = FULL[stage]
    rig.afresh()
    asking = rig.ask()
    wait_for(lambda: STAGES[full.at](rig), 240)
    disks[full.store].leave(full.leaves)
    assert (asking.ends(300) == 0) == full.succeeds, asking.said
    assert full.says in asking.said
    rig.check()
    disks[full.store].leave(2000)
    rig.afresh()
    again = rig.ask()
    assert again.ends(240) == 0, again.said
    assert "cross-compiled at its native path" in again.said
    rig.check()
