"""Each rule taken away: the simpler one that is left goes wrong on a real package."""

import pytest

from protocol.store.path import StorePath
from shim.equivalence.platforms import Machine
from shim.plant.counterparts import Chooser, Neighbourhood
from shim.plant.graph import CrossGraph, Fate
from shim.plant.plan import Plan
from shim.plant.planner import Planner
from shim.plant.slots import Slot
from tests.shim.plant.corpus import Corpus, corpus

REQUESTS = "python311Packages.requests"


@pytest.fixture(scope="module")
def known() -> Corpus:
    return corpus()


def planned(known: Corpus, attribute: str) -> Plan:
    found = Planner(known.table, known.derivations).plan(known.native(attribute))
    assert isinstance(found, Plan)
    return found


def test_without_slots_a_hook_is_swapped_for_the_native_one(
    known: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = planned(known, REQUESTS)
    rule = CrossGraph.fate

    def blind(graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath) -> Fate:
        del slot
        return rule(graph, Slot.TEXT, drv, path)

    monkeypatch.setattr(CrossGraph, "fate", blind)
    wrong = planned(known, REQUESTS)
    hooks = {
        path
        for path in wrong.native_inputs
        if path.name in {"pypa-install-hook", "wrap-python-hook"}
    }
    # They embed the board's python, which cannot run where the plant is built.
    assert len(hooks) == 2
    assert not hooks & right.native_inputs


def test_without_grafts_programs_link_to_the_cross_libc(
    known: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = planned(known, "jq")
    rule = CrossGraph.fate

    def kept(graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath) -> Fate:
        found = rule(graph, slot, drv, path)
        return Fate.KEEP if found is Fate.GRAFT else found

    monkeypatch.setattr(CrossGraph, "fate", kept)
    wrong = planned(known, "jq")

    def reaches_cross_libc(plan: Plan) -> bool:
        waiting, seen = [*plan.to_realise()], set()
        grafts = {graft.path: graft.derivation for graft in plan.grafts}
        while waiting:
            path = waiting.pop()
            if path.name.startswith("glibc-aarch64-unknown-linux-gnu"):
                return True
            if path not in seen and path not in plan.opaque:
                seen.add(path)
                waiting += (grafts.get(path) or known.derivations[path]).input_derivations
        return False

    assert reaches_cross_libc(wrong)
    assert not reaches_cross_libc(right)


def test_without_opaque_compilers_the_compiler_is_built_again(
    known: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = CrossGraph.fate

    def transparent(graph: CrossGraph, slot: Slot, drv: StorePath, path: StorePath) -> Fate:
        found = rule(graph, slot, drv, path)
        if found is Fate.KEEP and graph.machine(drv) is Machine.BUILD and graph.shape(drv).changes:
            return Fate.GRAFT
        return found

    monkeypatch.setattr(CrossGraph, "fate", transparent)
    wrong = planned(known, "jq")
    assert "aarch64-unknown-linux-gnu-gcc-13.2.0.drv" in {graft.path.name for graft in wrong.grafts}
    assert not wrong.opaque


def test_without_the_neighbourhood_native_paths_come_from_elsewhere(
    known: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not planned(known, "zlib").outside
    monkeypatch.setattr(Chooser, "_offers", _any_pair)
    # The final compiler is built with zlib: a board that builds zlib does not have it yet.
    assert {path.name for path in planned(known, "zlib").outside} == {"gcc-13.2.0-lib"}


def _any_pair(chooser: Chooser, at: StorePath, variable: str, cross: StorePath):  # type: ignore[no-untyped-def]  # noqa: ANN202 - stands in for a private method
    del at, variable
    yield chooser._counterparts.candidates(cross)[-1], "any"


def test_native_build_tools_are_not_needed(known: Corpus) -> None:
    plan = known.plan("jq")
    native = Neighbourhood(known.derivations, plan.native)
    assert len(native.outputs) > 100
    assert len(plan.native_inputs) < 10
