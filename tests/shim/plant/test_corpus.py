"""What is known of the shared corpus in particular."""

import re

import pytest

from shim.equivalence.pairing import pair
from shim.plant.plan import Decline, Plan
from shim.plant.planner import Planner
from tests.shim.plant.corpus import Corpus, corpus, roots


@pytest.fixture(scope="module")
def known() -> Corpus:
    return corpus()


def test_roots_are_planned_unless_their_content_is_fixed(known: Corpus) -> None:
    for attribute, each in known.truth["pairs"].items():
        if not each.get("fixedOutput"):
            assert known.plan(attribute).outputs == each["nativeOutputs"]


def test_compilers_kept_as_they_are_run_on_the_build_machine(known: Corpus) -> None:
    opaque = {path for plan in known.plans for path in plan.opaque}
    assert {path.name for path in opaque} == {f"{known.triple}-gcc-13.2.0.drv"}


def test_libraries_of_the_compiler_lie_in_the_native_folder(known: Corpus) -> None:
    for graft in known.plan("zlib").grafts:
        for text in graft.derivation.env.values():
            assert not re.search(rf"-lib/{known.triple}/", text)


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
