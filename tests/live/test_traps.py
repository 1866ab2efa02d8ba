"""Every structural trap of minipkgs planted for real, and each rule taken away seen to fail.

A board that has the native toolchain and nothing else asks for all traps at once, so that native
inputs of traps are planted ones too.  Where a rule is taken away, the altered plan is carried out
by the shim's own code in the running shim's plant store.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest
import trio

from protocol.store.path import STORE_DIR, StorePath
from protocol.worker.stderr import LogMessage, Result, ResultType
from shim import config
from shim.daemon.building.keeping import Keeper
from shim.daemon.building.narrator import Narrator
from shim.daemon.nix.nixstore import Nix
from shim.daemon.plants.imports import Imports
from shim.daemon.plants.planting import Job, Planter
from shim.daemon.plants.propagated import brought_along
from shim.daemon.plants.symbols import lacking
from shim.daemon.state import State
from shim.equivalence import file
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.keys import KeyRing
from shim.plan.decision import Cross
from shim.plan.failures import StepFailed
from shim.plant import choices, grafts, planting
from shim.plant.counterparts import Chooser
from shim.plant.exchange import Exchange
from shim.plant.graph import CrossGraph, Fate
from shim.plant.plan import Plan
from shim.plant.planner import Planner
from shim.plant.slots import Slot
from shim.systems import SYSTEMS
from tests.live import world
from tests.live.world import Board, Shim

TOOLCHAIN: Final = "base1"
"""A package whose inputs are the native toolchain."""

BRINGING: Final = ("bringing", "needing")
"""Libraries whose `dev` output names a tool."""

SAYS: Final[dict[str, tuple[str, str] | None]] = {
    "answer": None,
    "asker": ("bin/asker", "42"),
    "bringer": ("bin/stamped", "stamped"),
    "debugged": ("bin/debugged", "{length} {program}"),
    "early": ("bin/late", "1"),
    "guarded": ("bin/tower", "1 2 3"),
    "joined": ("bin/tower", "1 2 3"),
    "late": ("bin/late", "1"),
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


def test_a_tool_that_only_files_of_a_native_input_name_runs_its_hook(traps: Traps) -> None:
    assert (traps.out("bringer") / "bin" / "stamped.kit").read_text().strip()


def test_what_a_package_propagates_needs_no_repair(traps: Traps) -> None:
    told = {name: re.search(rf"{name}-1\.0: .*grade (\w+)", traps.told) for name in BRINGING}
    grades = {name: found[1] for name, found in told.items() if found}
    # What a script writes down is known by nothing but the finished output.
    assert grades == {"needing": "checked", "bringing": "repaired"}


def test_each_package_gets_the_native_form_among_its_own_inputs(traps: Traps) -> None:
    for attribute, library in (("early", "earlyBase"), ("late", "base1")):
        program = world.outputs(traps.natives[attribute])["out"]
        query = ("nix-store", "--store", traps.board.store, "--query", "--references", program)
        wanted = world.outputs(world.derivation(f"pkgs.{library}"))["out"]
        found = [path for path in world.run(query).stdout.split() if "-base1-" in path]
        assert found == [wanted]


def test_no_compiler_is_made_again(traps: Traps) -> None:
    cross = Path(world.outputs(world.derivation(f"{world.CROSS}.gcc-unwrapped"))["out"]).name
    # Tests of other systems plant there as well.
    compilers = traps.shim.plant_root.glob(f"nix/store/*-{StorePath.of(cross).name}")
    assert [path.name for path in compilers if path.is_dir()] == [cross]


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


def test_files_of_native_inputs_left_unread_fail(traps: Traps) -> None:
    assert FOREIGN in failure(traps, planned(traps, "bringer"))


def test_native_tools_left_beside_the_others_fail(
    traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = planned(traps, "bringer")
    files = brought_along(traps.shim.serving_root, known.libraries, STORE_DIR)
    assert planned(traps, "bringer", files).exchange.aside
    monkeypatch.setattr(planting, "Exchange", lambda *_: Exchange())
    assert FOREIGN in failure(traps, planned(traps, "bringer", files))


def test_tools_recorded_as_they_run_here_fail(
    traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planting.Planting, "native_form", lambda *_: None)
    traps.natives["needing"] = world.derivation("pkgs.needing")
    assert FORBIDDEN in failure(traps, planned(traps, "needing"))


def test_any_native_form_fails(traps: Traps, monkeypatch: pytest.MonkeyPatch) -> None:
    right = {name: planned(traps, name).native_inputs for name in ("early", "late")}
    assert right["early"] != right["late"]
    for last in (0, -1):
        monkeypatch.setattr(Chooser, "_offers", any_form(last))
        plans = {name: planned(traps, name) for name in right}
        (wrong,) = [plan for name, plan in plans.items() if plan.native_inputs != right[name]]
        assert FORBIDDEN in failure(traps, wrong, own_inputs(traps, wrong.native))


def test_headers_that_differ_are_refused(traps: Traps) -> None:
    plan = planned(traps, "tower")
    ((native, _),) = plan.headers
    other = next(path for path in plan.native_inputs if path.name == "top-1.0-dev")
    complaint = failure(traps, replace(plan, headers=((native, other),)))
    assert "no admissible pair" in complaint
    assert other.name in complaint


def test_libraries_that_offer_less_are_refused(traps: Traps) -> None:
    runtime = planned(traps, "words").runtime
    assert {native.name.partition("-")[0] for native, _ in runtime} == {"gcc", "glibc"}
    plants = [traps.shim.plant_root / path.lstrip("/") for pair in runtime for path in pair]
    assert sum(path.exists() for path in plants) == len(plants)
    # What another machine's libc offers begins with a later release.
    less = Path(world.realise(world.derivation("pkgsCross.riscv64.glibc"))[0])
    (libc,) = [cross for native, cross in runtime if native.name.startswith("glibc")]
    complaint = lacking(less, traps.shim.plant_root / libc.lstrip("/"))
    assert complaint is not None
    assert "libc.so.6 GLIBC_2.17" in complaint


def test_guarding_lists_of_the_cross_recipe_fail(
    traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "guard_env", lambda *_: {})
    assert "not allowed to refer to" in failure(traps, planned(traps, "guarded"))


def any_form(last: int) -> Callable[..., Iterator[tuple[StorePath, str]]]:
    """Takes the first or the last of all native forms, wherever the wanted derivation stands."""

    def offers(
        chooser: Chooser, at: StorePath, variable: str, cross: StorePath
    ) -> Iterator[tuple[StorePath, str]]:
        del at, variable
        yield chooser._counterparts.candidates(cross)[last], "any"

    return offers


def own_inputs(traps: Traps, native: StorePath) -> frozenset[StorePath]:
    """All that a native derivation's own inputs reach."""
    shown = json.loads(world.run(["nix", "show-derivation", native]).stdout)[native]
    paths = [
        world.outputs(drv)[name] for drv, names in shown["inputDrvs"].items() for name in names
    ]
    query = ["nix-store", "--store", traps.board.store, "--query", "-R", *paths]
    return frozenset(map(StorePath, world.run(query).stdout.split()))


def planned(
    traps: Traps, attribute: str, brought: Mapping[StorePath, str] = MappingProxyType({})
) -> Plan:
    """A plan by whichever rules hold now."""
    planner = Planner(traps.table, Derivations.open(Path("/")))
    found = planner.plan(StorePath(traps.natives[attribute]), brought)
    assert isinstance(found, Plan), found
    return found


def failure(traps: Traps, plan: Plan, allowed: frozenset[StorePath] | None = None) -> str:
    """Carry a plan out by the running shim's daemons; why it failed, and what the build said."""
    said: list[str] = []

    async def hear(message: LogMessage) -> None:
        if isinstance(message, Result) and message.type is ResultType.BUILD_LOG_LINE:
            said.extend(str(each) for each in message.fields)

    async def carry_out() -> None:
        settings = config.load(traps.shim.base / "shim.toml")
        state = settings.state_directory
        serving = Nix("serving nix-daemon", state / "serving" / "socket", settings)
        memory = State(traps.shim.base / "traps.sqlite")
        planter = Planter(
            settings,
            settings.all_domains()[config.DEFAULT_DOMAIN],
            Nix("plant nix-daemon", state / "plant" / "socket", settings),
            Imports(config.DEFAULT_DOMAIN, serving, memory),
            Keeper(traps.shim.plant_root, settings.deadlines.protect),
            SYSTEMS,
            KeyRing.load(state / "keys"),
        )
        entry = traps.table.host_entry(plan.native)
        assert entry is not None
        narrator = Narrator(hear)
        with closing(memory):
            async with narrator.building(plan.native, "altered") as build_log:
                await planter.plant(
                    Job(
                        Cross(entry, plan, "altered"),
                        "aarch64-linux",
                        traps.allowed if allowed is None else allowed,
                        {},
                        settings.policy,
                        narrator,
                        build_log,
                        lambda _: None,
                    )
                )

    try:
        trio.run(carry_out)
    except StepFailed as failed:
        return "\n".join([*said, failed.reason])
    raise AssertionError("\n".join(["the altered plan was carried out:", *said]))
