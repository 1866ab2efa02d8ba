"""Build tools that libraries bring along, and the build machine's tools to use in their place.

A library's `dev` output names, in `nix-support`, the tools that whoever builds with it needs.  In
a native output these are native tools, which the build machine cannot run.  What the cross library
of the same expression propagates is known from its recipe; what a native output names without its
recipe saying so is known once it is realised, and is then told to the planner.  Reads no files.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from protocol.store.path import StorePath
from shim.equivalence.grades import Role
from shim.equivalence.platforms import Machine
from shim.plant.graph import CrossGraph, Fate, Use
from shim.plant.slots import BROUGHT, Slot, slot_of

FILES: Final[Mapping[str, str]] = {
    "propagated-native-build-inputs": "nativeBuildInputs",
    "propagated-build-build-deps": "depsBuildBuild",
    "propagated-build-target-deps": "depsBuildTarget",
}
"""The same for the files of `nix-support` (nixpkgs `setup.sh`: `propagatedBuildDepFiles`)."""

FURTHER: Final = (
    "propagated-host-host-deps",
    "propagated-build-inputs",
    "propagated-target-target-deps",
)
"""Files of `nix-support` that name more packages of the same kind: libraries of a library, tools of
a tool.
"""

_TO_HOST: Final = frozenset({"propagatedBuildInputs", "depsHostHostPropagated"})


def propagated_tools(graph: CrossGraph, uses: Iterable[Use]) -> Iterator[Use]:
    """Uses of build tools that the host inputs among `uses` propagate, in the order they are met.

    Args:
        graph: the cross graph.
        uses: of the cross recipe.

    Yields:
        Each in the slot that it takes at the user.
    """
    seen: set[StorePath] = set()
    waiting = [use for use in uses if _propagates(graph, use)][::-1]
    while waiting:
        library = waiting.pop()
        if library.derivation in seen:
            continue
        seen.add(library.derivation)
        found = graph.shape(library.derivation).uses
        for use in found:
            if use.variable in BROUGHT:
                yield use_in(graph, BROUGHT[use.variable], use.derivation, use.output, use.path)
        further = [use for use in found if use.variable in _TO_HOST and _propagates(graph, use)]
        waiting += further[::-1]


def use_in(
    graph: CrossGraph, slot: str, derivation: StorePath, output: str, path: StorePath
) -> Use:
    """A use of a build tool in a dependency slot."""
    return Use(slot, path, derivation, output, graph.fate(Slot.BUILD, derivation, path))


def forms(graph: CrossGraph, native: StorePath) -> Iterator[tuple[StorePath, str, StorePath]]:
    """The build machine's forms of a native tool's output: `.drv`, output name, path; in order."""
    table = graph.counterparts.table
    found: dict[tuple[StorePath, str, StorePath], None] = {}
    for entry in table.by_output(native):
        if entry.role is Role.HOST or entry.cross not in graph.derivations:
            continue
        cross = entry.cross_of(native)
        if cross is not None and graph.machine(entry.cross) is Machine.BUILD:
            name = next(name for name, path in entry.cross_outputs.items() if path == cross)
            found[entry.cross, name, cross] = None
    yield from sorted(found)


def form_of(
    graph: CrossGraph, native: StorePath, wanted: frozenset[StorePath]
) -> tuple[StorePath, str, StorePath] | None:
    """The one form of a native tool to use here; None where there is none, or no way to choose.

    Args:
        graph: the cross graph.
        native: an output of the tool.
        wanted: paths that the recipe uses already: they are preferred.
    """
    found = list(forms(graph, native))
    mentioned = [form for form in found if form[2] in wanted]
    choice = mentioned or found
    return choice[0] if len({path for _, _, path in choice}) == 1 else None


def is_replaced(use: Use) -> bool:
    """Whether a native library stands in a slot of dependencies, where what it names is used."""
    return slot_of(use.variable) is Slot.HOST and use.fate is Fate.REPLACE


def _propagates(graph: CrossGraph, use: Use) -> bool:
    """Whether the mentioned output is the one that holds what its derivation propagates.

    That is `dev`, or `out` where there is none (`multiple-outputs.sh`: `outputDev`).
    """
    outputs = graph.recipe(use.derivation).outputs
    return slot_of(use.variable) is Slot.HOST and use.output == (
        "dev" if "dev" in outputs else "out"
    )
