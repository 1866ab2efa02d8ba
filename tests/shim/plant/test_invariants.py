"""What holds for every plan, checked on raw derivations and not by the engine's own judgement."""

import re
from collections.abc import Iterator

import pytest

from protocol.store.derivation import Derivation
from protocol.store.modulo import HashModulo, check_outputs, derivation_path
from protocol.store.path import StorePath
from shim.equivalence.pairing import pair
from shim.plant.plan import Decline, Plan
from shim.plant.planner import Planner
from tests.shim.plant.corpus import Corpus, corpus, roots

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


@pytest.fixture(scope="module")
def known() -> Corpus:
    return corpus()


class World:
    """Every derivation by path and every maker by output, grafts of all plans included."""

    def __init__(self, known: Corpus) -> None:
        self.known = known
        self.triple = known.truth["crossTriple"]
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
        processor = derivation.env.get("cmakeFlags", "")
        return self.triple in flags or "-DCMAKE_SYSTEM_PROCESSOR=aarch64" in processor

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


def mentioned(texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    for variable, text in texts.items():
        for found in PATH.findall(text):
            yield variable, found


def test_every_package_without_a_semantic_difference_is_planned(known: Corpus) -> None:
    declined = {
        path.name: result.reasons
        for path, result in known.results.items()
        if isinstance(result, Decline)
    }
    assert len(declined) <= 0.05 * len(known.results), declined


def test_roots_are_planned_unless_their_content_is_fixed(known: Corpus) -> None:
    for attribute, each in known.truth["pairs"].items():
        if not each.get("fixedOutput"):
            assert known.plan(attribute).outputs == each["nativeOutputs"]


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
        assert plan.derivation.platform == cross.platform == known.truth["buildSystem"]
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
                assert not (world.is_for_host(path) and world.compiles(path)), (plan.native, path)


def test_compilers_kept_as_they_are_run_on_the_build_machine(known: Corpus, world: World) -> None:
    opaque = {path for plan in known.plans for path in plan.opaque}
    assert {path.name for path in opaque} == {f"{world.triple}-gcc-13.2.0.drv"}


def test_nothing_forbidden_is_left_in_any_text(known: Corpus, world: World) -> None:
    for plan in known.plans:
        recipes = [plan.derivation, *(graft.derivation for graft in plan.grafts)]
        for recipe in recipes:
            for variable, text in [*recipe.env.items(), ("builder", recipe.builder)]:
                if not GUARDS.fullmatch(variable):
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
                    assert platform == known.truth["buildSystem"], (plan.native, variable, path)


def test_what_is_realised_runs_here_or_is_fixed(known: Corpus, world: World) -> None:
    for plan in known.plans:
        for path in world.reached(plan):
            derivation = world.derivation(path)
            assert derivation.is_fixed or derivation.platform == known.truth["buildSystem"]


def test_native_paths_come_from_the_native_derivation_s_inputs(known: Corpus, world: World) -> None:
    for plan in known.plans:
        assert plan.native_inputs - plan.outside <= world.native_closure(plan.native)
        assert not plan.outside


def test_everything_mentioned_is_an_input(known: Corpus, world: World) -> None:
    for plan in known.plans:
        texts = {
            variable: text
            for variable, text in plan.derivation.env.items()
            if not GUARDS.fullmatch(variable)
        }
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


def test_grafts_are_shared_and_few(known: Corpus, world: World) -> None:
    assert len(world.grafts) <= 12
    uses = sum(len(plan.grafts) for plan in known.plans)
    assert uses > 15 * len(world.grafts)


def test_plans_do_not_depend_on_order_or_memory(known: Corpus) -> None:
    again = Planner(known.table, known.derivations)
    for path in reversed(known.results):
        assert again.plan(path) == known.results[path]
    for path, result in known.results.items():
        assert again.plan(path) == result


def test_libraries_of_the_compiler_lie_in_the_native_folder(known: Corpus, world: World) -> None:
    for graft in known.plan("zlib").grafts:
        for text in graft.derivation.env.values():
            assert not re.search(rf"-lib/{world.triple}/", text)


def test_declined_ones_say_why(known: Corpus) -> None:
    reasons = {
        path.name: result.reasons
        for path, result in known.results.items()
        if isinstance(result, Decline)
    }
    assert reasons.keys() == {"libidn2-2.3.7.drv", "libunistring-1.1.drv"}
    # A copy of what a bootstrap stage built, and a library built against the bootstrap libc.
    assert "put together from other outputs" in reasons["libidn2-2.3.7.drv"][0]
    assert "libc version" in reasons["libunistring-1.1.drv"][0]


def test_a_table_of_one_root_plans_that_root(known: Corpus) -> None:
    for native, cross in roots(known.truth):
        if not known.derivations[native].is_fixed:
            table = pair(known.derivations, [(native, cross)])
            result = Planner(table, known.derivations).plan(native)
            assert isinstance(result, Plan), result
            assert result.outputs == known.derivations[native].output_paths()
