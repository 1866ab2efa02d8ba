"""Questions about the graph below a recipe that a client asks for."""

from protocol.store.derivation import Derivation, Recipe
from protocol.store.path import StorePath
from shim.equivalence.source import Derivations, UnreadableDerivation


def direct_inputs(derivation: Recipe, graph: Derivations) -> set[StorePath]:
    """What a recipe's builder is given: sources, and the outputs it asks of its inputs."""
    paths = set(derivation.input_sources)
    if isinstance(derivation, Derivation):
        for drv, chosen in derivation.input_derivations.items():
            outputs = graph[drv].output_paths()
            paths |= {outputs[name] for name in chosen.outputs if name in outputs}
    return paths


def outputs_below(derivation: Recipe, graph: Derivations) -> dict[StorePath, tuple[StorePath, str]]:
    """Output path -> the `.drv` and the output name that make it, for the whole graph below.

    A flat recipe has no graph: nothing is below it.
    """
    found: dict[StorePath, tuple[StorePath, str]] = {}
    seen: set[StorePath] = set()
    fringe = set(derivation.input_derivations) if isinstance(derivation, Derivation) else set()
    while fringe:
        drv = fringe.pop()
        seen.add(drv)
        try:
            each = graph[drv]
        except UnreadableDerivation:
            continue
        found |= {path: (drv, name) for name, path in each.output_paths().items()}
        fringe |= set(each.input_derivations) - seen
    return found
