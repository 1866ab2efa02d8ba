"""Build tools that native inputs would bring along, and the fast machine's tools to use instead.

A library's `dev` output names, in `nix-support`, the tools that whoever builds with it needs.  In
a native output these are native tools, which the build machine cannot run.  The cross library of
the same expression propagates the build machine's: those are put in front, so that they are found
first.
"""

from collections.abc import Iterable, Iterator

from protocol.store.path import StorePath
from shim.plant.graph import CrossGraph, Use
from shim.plant.slots import Slot, slot_of

_TO_BUILD = frozenset({"propagatedNativeBuildInputs", "depsBuildBuildPropagated"})
_TO_HOST = frozenset({"propagatedBuildInputs", "depsHostHostPropagated"})


def propagated_tools(graph: CrossGraph, uses: Iterable[Use]) -> Iterator[Use]:
    """Uses of build tools that the host inputs among `uses` propagate, in the order they are met.

    Args:
        graph: the cross graph.
        uses: of the cross recipe.
    """
    seen: set[StorePath] = set()
    waiting = [use for use in uses if _propagates(graph, use)][::-1]
    while waiting:
        library = waiting.pop()
        if library.derivation in seen:
            continue
        seen.add(library.derivation)
        found = graph.shape(library.derivation).uses
        yield from (use for use in found if use.variable in _TO_BUILD)
        further = [use for use in found if use.variable in _TO_HOST and _propagates(graph, use)]
        waiting += further[::-1]


def _propagates(graph: CrossGraph, use: Use) -> bool:
    """Whether the mentioned output is the one that holds what its derivation propagates.

    That is `dev`, or `out` where there is none (`multiple-outputs.sh`: `outputDev`).
    """
    outputs = graph.recipe(use.derivation).outputs
    return slot_of(use.variable) is Slot.HOST and use.output == (
        "dev" if "dev" in outputs else "out"
    )
