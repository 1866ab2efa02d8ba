"""Every structural trap of minipkgs planted for real, and each rule taken away seen to fail.

A board that has the native toolchain and nothing else asks for all traps at once, so that native
inputs of traps are planted ones too.  Where a rule is taken away, the altered plan is carried out
by the shim's own code in the running shim's plant store.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio

from protocol.store.path import StorePath
from protocol.worker.stderr import LogMessage, Result, ResultType
from shim import config
from shim.daemon.narrator import Narrator
from shim.daemon.nixstore import Nix
from shim.daemon.planting import Planter
from shim.equivalence import file
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.keys import KeyRing
from shim.plan.decision import Cross
from shim.plan.failures import StepFailed
from shim.plant import choices, grafts, planting
from shim.plant.graph import CrossGraph, Fate
from shim.plant.plan import Plan
from shim.plant.planner import Planner
from shim.plant.slots import Slot
from shim.systems import SYSTEMS
from tests.live import world
from tests.live.world import Board, Shim

TOOLCHAIN: Final = "base1"
"""A package whose inputs are the native toolchain."""

SAYS: Final[dict[str, tuple[str, str] | None]] = {
    "answer": None,
    "asker": ("bin/asker", "42"),
    "debugged": ("bin/debugged", "{length} {program}"),
    "guarded": ("bin/tower", "1 2 3"),
    "joined": ("bin/tower", "1 2 3"),
    "launched": ("libexec/launched-launcher", "launched"),
    "needer": ("bin/stamped", "stamped"),
    "stamped": ("bin/stamped", "stamped"),
    "tabled": ("bin/tabled", "3375"),
    "tabler": None,
    "tower": ("bin/tower", "1 2 3"),
    "words": None,
    "wrapped": ("bin/wrapped", "hello"),
}
"""Trap -> a program of it and what that prints, where it needs no argument."""


@dataclass
class Traps:
    """A shim that has been asked for every trap, and how that went."""

    shim: Shim
    board: Board
    table: Table
    natives: dict[str, str]
    """Attribute -> native `.drv`."""
    told: str
    """What the client printed."""
    allowed: frozenset[StorePath]
    """All that the traps may refer to."""

    def out(self, attribute: str) -> Path:
        """The default output as the board has it."""
        path = world.outputs(self.natives[attribute])["out"]
        return self.board.physical(path)


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory, plant_root: Path) -> Iterator[Traps]:
    base = tmp_path_factory.mktemp("traps")
    natives = {each: world.derivation(f"pkgs.{each}") for each in SAYS}
    crosses = {each: world.derivation(f"{world.CROSS}.{each}") for each in SAYS}
    world.build_tools(crosses["words"])
    roots = [(StorePath(natives[each]), StorePath(crosses[each])) for each in SAYS]
    table = pair(Derivations.open(Path("/")), roots)
    file.save(table, base / "traps.table")
    board = Board(base / "board")
    board.receive(world.inputs(world.derivation(f"pkgs.{TOOLCHAIN}")))
    # The recipes of `tabler` and `tabled` differ in more than where they are built.
    shim = Shim(base / "shim", tables=[base / "traps.table"], plant=plant_root, worst="semantic")
    with shim:
        wanted = [word for each in SAYS for word in ("-A", f"pkgs.{each}")]
        built = board.nix(
            *("nix-build", world.MINIPKGS, "--no-out-link", "--store", board.store),
            *("--max-jobs", "0", "--builders", shim.builder()),
            *wanted,
        )
        known = world.run(["nix", "path-info", "--all", "--store", board.store])
        paths = known.stdout.split()
        yield Traps(
            shim,
            board,
            table,
            natives,
            built.stderr,
            frozenset(map(StorePath, paths)),
        )


# Every trap, planted


@pytest.mark.parametrize("attribute", SAYS)
def test_every_trap_is_planted(traps: Traps, attribute: str) -> None:
    assert f"{attribute}-1.0: cross-compiled at its native path" in traps.told
    assert f"{attribute}-1.0: built under emulation" not in traps.told


@pytest.mark.parametrize("attribute", [name for name, says in SAYS.items() if says])
def test_what_is_planted_does_what_it_is_for(traps: Traps, attribute: str) -> None:
    program, expected = SAYS[attribute] or ("", "")
    path = f"{world.outputs(traps.natives[attribute])['out']}/{program}"
    wanted = expected.format(program=path, length=len(path))
    assert world.run_in(traps.board.root, [path]).decode().strip() == wanted


def test_the_compilers_own_library_is_found_where_natively_it_lies(traps: Traps) -> None:
    program = f"{world.outputs(traps.natives['words'])['out']}/bin/words"
    assert world.run_in(traps.board.root, [program, "b", "a", "b"]) == b"1 a\n2 b\n"


def test_lists_of_closures_are_of_the_native_ones(traps: Traps) -> None:
    tower = world.outputs(traps.natives["tower"])["out"]
    query = world.run(["nix-store", "--store", traps.board.store, "--query", "-R", tower])
    assert (traps.out("joined") / "closure").read_text().split() == sorted(query.stdout.split())


def test_an_output_that_only_the_cross_recipe_has_reaches_no_store(traps: Traps) -> None:
    assert list((traps.shim.plant_root / "nix/store").glob("*-tabler-1.0-mini"))
    for root in (traps.shim.serving_root, traps.board.root):
        assert not list((root / "nix/store").glob("*-tabler-1.0-mini"))


def test_a_tool_that_a_native_input_brings_along_is_run_in_its_other_form(traps: Traps) -> None:
    needing = traps.board.physical(world.outputs(world.derivation("pkgs.needing"))["dev"])
    brought = (needing / "nix-support" / "propagated-native-build-inputs").read_text().split()
    assert "needing-1.0: cross-compiled at its native path" in traps.told
    assert brought == [world.outputs(world.derivation("pkgs.stamp"))["out"]]
    assert (traps.out("needer") / "bin" / "stamped.sum").read_text().strip()


# Each rule taken away

Fates = Callable[[CrossGraph, Slot, StorePath, StorePath], Fate]
_fate: Final = CrossGraph.fate


def everything_stays(graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath) -> Fate:
    del graph, slot, drv, path
    return Fate.KEEP


def slots_are_not_told_apart(
    graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath
) -> Fate:
    del slot
    return _fate(graph, Slot.TEXT, drv, path)


def nothing_is_grafted(graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath) -> Fate:
    found = _fate(graph, slot, drv, path)
    return Fate.KEEP if found is Fate.GRAFT else found


def hooks_are_not_grafted(graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath) -> Fate:
    return Fate.KEEP if drv.name.endswith("-hook.drv") else _fate(graph, slot, drv, path)


def only_slots_are_rewritten(
    graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath
) -> Fate:
    library = graph.counterparts.library(path)
    found = _fate(graph, slot, drv, path)
    return Fate.KEEP if slot is Slot.TEXT and found is Fate.REPLACE and not library else found


FORBIDDEN: Final = "gate: error references"
FOREIGN: Final = "Exec format error"


@pytest.mark.parametrize(
    ("rule", "attribute", "complaint"),
    [
        pytest.param(everything_stays, "tower", FORBIDDEN, id="the cross recipe as it is"),
        pytest.param(slots_are_not_told_apart, "stamped", FOREIGN, id="one map for all slots"),
        pytest.param(slots_are_not_told_apart, "launched", FOREIGN, id="the same, mixed hook"),
        pytest.param(nothing_is_grafted, "words", FORBIDDEN, id="wrappers as they are"),
        pytest.param(hooks_are_not_grafted, "wrapped", FORBIDDEN, id="hooks as they are"),
        pytest.param(hooks_are_not_grafted, "launched", FORBIDDEN, id="mixed hooks as they are"),
        pytest.param(only_slots_are_rewritten, "asker", FORBIDDEN, id="flags as they are"),
        pytest.param(only_slots_are_rewritten, "joined", FORBIDDEN, id="JSON as it is"),
    ],
)
def test_a_simpler_choice_for_mentions_fails(
    traps: Traps, monkeypatch: pytest.MonkeyPatch, rule: Fates, attribute: str, complaint: str
) -> None:
    monkeypatch.setattr(CrossGraph, "fate", rule)
    # Planning would see some of these by itself and decline: the walls behind it are tested here.
    monkeypatch.setattr(planting.Planting, "check_leaks", lambda *_: None)
    assert re.search(complaint, failure(traps, planned(traps, attribute)))


def test_a_compilers_folder_kept_within_its_library_output_fails(
    traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "_inner_folder", lambda *_: "")
    assert failure(traps, planned(traps, "words"))


def test_header_folders_told_as_they_are_fail(
    traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grafts, "VARIABLE", "unusedVariable")
    assert FORBIDDEN in failure(traps, planned(traps, "debugged"))


def test_tools_left_to_native_inputs_fail(traps: Traps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planting, "propagated_tools", lambda *_: ())
    assert FOREIGN in failure(traps, planned(traps, "needer"))


def test_guarding_lists_of_the_cross_recipe_fail(
    traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "guard_env", lambda *_: {})
    assert "not allowed to refer to" in failure(traps, planned(traps, "guarded"))


def planned(traps: Traps, attribute: str) -> Plan:
    """A plan by whichever rules hold now."""
    planner = Planner(traps.table, Derivations.open(Path("/")))
    found = planner.plan(StorePath(traps.natives[attribute]))
    assert isinstance(found, Plan), found
    return found


def failure(traps: Traps, plan: Plan) -> str:
    """Carry a plan out by the running shim's daemons; why it failed, and what the build said."""
    said: list[str] = []

    async def hear(message: LogMessage) -> None:
        if isinstance(message, Result) and message.type is ResultType.BUILD_LOG_LINE:
            said.extend(str(each) for each in message.fields)

    async def carry_out() -> None:
        settings = config.load(traps.shim.base / "shim.toml")
        state = settings.state_directory
        planter = Planter(
            settings,
            settings.all_domains()[config.DEFAULT_DOMAIN],
            Nix("plant nix-daemon", state / "plant" / "socket", settings),
            SYSTEMS,
            KeyRing.load(state / "keys"),
        )
        entry = traps.table.host_entry(plan.native)
        assert entry is not None
        narrator = Narrator(hear)
        async with narrator.building(plan.native, "altered") as build_log:
            await planter.plant(
                Cross(entry, plan, "altered"),
                "aarch64-linux",
                traps.allowed,
                {},
                settings.policy,
                Nix("serving nix-daemon", state / "serving" / "socket", settings),
                narrator,
                build_log,
            )

    try:
        trio.run(carry_out)
    except StepFailed as failed:
        return "\n".join([*said, failed.reason])
    raise AssertionError("\n".join(["the altered plan was carried out:", *said]))
