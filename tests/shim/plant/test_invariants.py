"""What holds for every plan, checked on raw derivations and not by the engine's own judgement."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest

from protocol.store.derivation import Derivation
from protocol.store.modulo import HashModulo, check_outputs, derivation_path
from protocol.store.path import StorePath
from shim.equivalence.grades import DifferenceClass
from shim.plant.graph import Fate
from shim.plant.plan import Decline, Plan
from shim.plant.planner import Planner
from shim.plant.slots import slot_of
from tests.shim.plant.corpus import Corpus, corpus, others

GUARDS = re.compile(r"(dis)?allowed(References|Requisites)|outputChecks")
BUILD_SLOTS = (
    "builder",
    "stdenv",
    "depsBuildBuild",
    "depsBuildBuildPropagated",
    "nativeBuildInputs",
    "propagatedNativeBuildInputs",
    "depsBuildTarget",
    "depsBuildTargetPropagated",
    "defaultNativeBuildInputs",
    "initialPath",
)
PATH = re.compile(r"/nix/store/[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+._?=-]+")


@pytest.fixture(scope="module", params=range(1 + len(others())))
def known(request: pytest.FixtureRequest) -> Corpus:
    return corpus() if request.param == 0 else others()[request.param - 1]


class World:
    """Every derivation by path and every maker by output, grafts of all plans included."""

    def __init__(self, known: Corpus) -> None:
        self.known = known
        self.triple = known.triple
        self.grafts = {graft.path: graft.derivation for p in known.plans for graft in p.grafts}
        self.makers: dict[str, StorePath] = {}
        waiting = [*known.results, *(p.cross for p in known.plans), *self.grafts]
        seen: set[StorePath] = set()
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                waiting += self.derivation(path).input_derivations
                for output in self.derivation(path).output_paths().values():
                    self.makers[output] = path

    def derivation(self, path: StorePath) -> Derivation:
        return self.grafts.get(path) or self.known.derivations[path]

    def is_for_host(self, path: StorePath) -> bool:
        derivation = self.derivation(path)
        text = derivation.env.get("configureFlags", "") + derivation.env.get("__json", "")
        flags = re.findall(r"--host=([\w-]+)", text)
        processor = self.triple.partition("-")[0]
        flag = f"-DCMAKE_SYSTEM_PROCESSOR={processor}"
        return self.triple in flags or flag in derivation.env.get("cmakeFlags", "")

    def compiles(self, path: StorePath) -> bool:
        env = self.derivation(path).env
        return bool(env.get("src") or env.get("srcs")) and not env.get("buildCommand")

    def reached(self, plan: Plan) -> Iterator[StorePath]:
        """Everything that is built or fetched for a plan, without what is inside a compiler."""
        waiting = list(plan.to_realise())
        seen: set[StorePath] = set()
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                yield path
                # Whoever made a fixed output need not be asked again.
                if path not in plan.opaque and not self.derivation(path).is_fixed:
                    waiting += self.derivation(path).input_derivations

    def native_closure(self, native: StorePath) -> set[StorePath]:
        found: set[StorePath] = set()
        waiting = [native]
        seen: set[StorePath] = set()
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            for each, wanted in self.derivation(path).input_derivations.items():
                outputs = self.derivation(each).output_paths()
                found |= {outputs[name] for name in wanted.outputs}
                waiting.append(each)
        return found


@pytest.fixture(scope="module")
def world(known: Corpus) -> World:
    return World(known)


def without_guards(env: Mapping[str, str]) -> dict[str, str]:
    """Texts that can make something available to a build; structured attributes one by one."""
    attributes = json.loads(env.get("__json", "{}"))
    texts = {name: json.dumps(value) for name, value in attributes.items()}
    texts |= {name: text for name, text in env.items() if name != "__json"}
    return {name: text for name, text in texts.items() if not GUARDS.fullmatch(name)}


def mentioned(texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    for variable, text in texts.items():
        for found in PATH.findall(text):
            yield variable, found


def test_packages_without_a_semantic_difference_are_planned(known: Corpus) -> None:
    alike = {
        path: result
        for path, result in known.results.items()
        if (entry := known.table.host_entry(path)) is not None
        and entry.difference_class < DifferenceClass.SEMANTIC
    }
    declined = {
        path.name: result.reasons for path, result in alike.items() if isinstance(result, Decline)
    }
    assert alike
    assert len(declined) <= 0.05 * len(alike), declined


def test_grafts_are_shared_and_few(known: Corpus, world: World) -> None:
    assert len(world.grafts) <= 12 + 0.05 * len(known.plans)
    uses = sum(len(plan.grafts) for plan in known.plans)
    assert uses > 15 * len(world.grafts)


def test_outputs_are_the_native_ones_and_made_up_ones(known: Corpus, world: World) -> None:
    for plan in known.plans:
        native = world.derivation(plan.native).output_paths()
        cross = world.derivation(plan.cross).output_paths()
        assert dict(plan.outputs) == native
        assert plan.derivation.output_paths() == {**native, **plan.dropped}
        assert plan.dropped.keys() == cross.keys() - native.keys()
        assert not {*plan.dropped.values()} & world.makers.keys()


def test_plants_are_built_where_and_as_the_cross_recipe_is(known: Corpus, world: World) -> None:
    for plan in known.plans:
        cross = world.derivation(plan.cross)
        assert plan.derivation.platform == cross.platform == known.build_system
        assert plan.derivation.env.keys() >= cross.env.keys() - {"nativeBuildInputs"}
        assert cross.input_sources <= plan.derivation.input_sources


def test_the_planted_path_has_the_native_name_and_is_nowhere(known: Corpus) -> None:
    paths = [plan.drv_path for plan in known.plans]
    assert len(set(paths)) == len(paths)
    for plan in known.plans:
        assert plan.drv_path.name == plan.native.name
        assert plan.drv_path not in known.derivations


def test_no_cross_host_output_is_reached_outside_a_compiler(known: Corpus, world: World) -> None:
    for plan in known.plans:
        for path in world.reached(plan):
            if path not in plan.opaque and path not in world.grafts:
                fixed = world.derivation(path).is_fixed
                wrong = not fixed and world.is_for_host(path) and world.compiles(path)
                assert not wrong, (plan.native, path)


def test_programs_are_linked_to_no_library_of_a_cross_compiler(known: Corpus, world: World) -> None:
    for plan in known.plans:
        libraries = {
            path
            for compiler in plan.opaque
            for name, path in world.derivation(compiler).output_paths().items()
            if name in {"lib", "libgcc"}
        }
        for recipe in (plan.derivation, *(graft.derivation for graft in plan.grafts)):
            for variable, path in mentioned(without_guards(recipe.env)):
                assert path not in libraries, (plan.native, variable, path)


def test_nothing_forbidden_is_left_in_any_text(known: Corpus, world: World) -> None:
    for plan in known.plans:
        recipes = [plan.derivation, *(graft.derivation for graft in plan.grafts)]
        for recipe in recipes:
            for text in [*without_guards(recipe.env).values(), recipe.builder]:
                assert not [path for path in plan.forbidden if path.digest in text]
        assert {*world.derivation(plan.cross).output_paths().values()} <= plan.forbidden


def test_no_native_tool_stands_in_a_build_slot(known: Corpus, world: World) -> None:
    for plan in known.plans:
        for recipe in (plan.derivation, *(graft.derivation for graft in plan.grafts)):
            texts = {**recipe.env, "builder": recipe.builder}
            attributes = recipe.structured() or {}
            texts |= {name: str(attributes[name]) for name in BUILD_SLOTS if name in attributes}
            slots = {name: texts[name] for name in BUILD_SLOTS if name in texts}
            for variable, path in mentioned(slots):
                maker = world.makers.get(path)
                if maker is not None and not world.derivation(maker).is_fixed:
                    platform = world.derivation(maker).platform
                    assert platform == known.build_system, (plan.native, variable, path)


def test_what_is_realised_runs_here_or_is_fixed(known: Corpus, world: World) -> None:
    for plan in known.plans:
        for path in world.reached(plan):
            derivation = world.derivation(path)
            assert derivation.is_fixed or derivation.platform == known.build_system


def test_native_paths_come_from_the_native_derivation_s_inputs(known: Corpus, world: World) -> None:
    for plan in known.plans:
        closure = world.native_closure(plan.native)
        assert plan.native_inputs - closure == plan.outside


def test_hardly_anything_is_needed_from_elsewhere(known: Corpus) -> None:
    elsewhere = [plan.native.name for plan in known.plans if plan.outside]
    assert len(elsewhere) <= 0.02 * len(known.plans), elsewhere


def test_everything_mentioned_is_an_input(known: Corpus, world: World) -> None:
    for plan in known.plans:
        texts = without_guards(plan.derivation.env)
        texts |= {"builder": plan.derivation.builder, "args": " ".join(plan.derivation.args)}
        own = {*plan.derivation.output_paths().values()}
        for variable, path in mentioned(texts):
            if path in world.makers:
                assert path in plan.derivation.input_sources | own, (plan.native, variable, path)


def test_every_input_is_made_by_something_in_the_plan(known: Corpus, world: World) -> None:
    for plan in known.plans:
        made = {
            world.derivation(path).output_paths()[name]
            for path, names in plan.to_realise().items()
            for name in names
        }
        given = made | plan.native_inputs | plan.sources
        assert plan.derivation.input_sources <= given


def test_grafts_are_ordinary_derivations_in_build_order(known: Corpus, world: World) -> None:
    modulo = HashModulo(world.derivation)
    for plan in known.plans:
        available: set[StorePath] = set()
        grafts = {graft.path for graft in plan.grafts}
        for graft in plan.grafts:
            assert derivation_path(graft.derivation) == graft.path
            check_outputs(graft.derivation, modulo)
            assert graft.derivation.input_derivations.keys() & grafts <= available
            assert graft.derivation.input_sources <= plan.sources | plan.native_inputs
            available.add(graft.path)


def test_plans_do_not_depend_on_order_or_memory(known: Corpus) -> None:
    again = Planner(known.table, known.derivations)
    for path in reversed(known.results):
        assert again.plan(path) == known.results[path]
    for path, result in known.results.items():
        assert again.plan(path) == result


def test_the_plan_of_a_plan_changes_nothing(known: Corpus, world: World) -> None:
    graph = Planner(known.table, known.derivations).graph
    for plan in known.plans:
        # Native packages of a static set look like cross-compiled ones.
        natives = {*plan.native_inputs, *plan.outputs.values()}
        for recipe in (plan.derivation, *(graft.derivation for graft in plan.grafts)):
            for variable, path in mentioned(without_guards(recipe.env)):
                maker = world.makers.get(path)
                if maker is not None and maker not in world.grafts and path not in natives:
                    fate = graph.fate(slot_of(variable), maker, StorePath(path))
                    assert fate is Fate.KEEP, (plan.native, variable, path)
