"""What two whole graphs say of themselves before they are walked: systems, triples, cycles."""

from collections import Counter
from collections.abc import Iterable, Sequence

from protocol.store.path import StorePath
from shim.equivalence.recipe import Recipe, Recipes
from shim.equivalence.source import UnreadableDerivation
from shim.errors import ExitCode, ShimError
from shim.systems import Systems

BUILTIN = "builtin"
"""The platform of derivations that Nix itself carries out: downloads."""


def closure(recipes: Recipes, roots: Iterable[StorePath]) -> list[Recipe]:
    """Every readable derivation below `roots`, inputs before what needs them.

    A derivation that needs itself, which takes forged paths, is noted in `recipes.broken`.
    """
    ordered: list[Recipe] = []
    entered: set[StorePath] = set()
    open_above: set[StorePath] = set()
    stack: list[tuple[StorePath, Recipe | None]] = [(root, None) for root in sorted(set(roots))]
    while stack:
        path, done = stack.pop()
        if done is not None:
            open_above.discard(path)
            ordered.append(done)
        elif path in open_above:
            recipes.broken[path] = UnreadableDerivation(path, "it is an input of its own inputs")
        elif path not in entered:
            entered.add(path)
            recipe = recipes.get(path)
            if recipe is not None:
                open_above.add(path)
                stack.append((path, recipe))
                stack += [(below, None) for below in recipe.derivation.input_derivations]
    return ordered


def system_of(recipes: Recipes, roots: Iterable[StorePath], side: str) -> str:
    """The one system that the derivations at `roots` are built on; empty if only downloads are.

    Raises:
        ShimError: a root cannot be read, or the roots are of several systems.
    """
    systems: dict[str, StorePath] = {}
    for root in roots:
        recipe = recipes.get(root)
        if recipe is None:
            raise recipes.broken[root]
        systems.setdefault(recipe.derivation.platform, root)
    systems.pop(BUILTIN, None)
    if len(systems) > 1:
        (first, one), (second, other), *_ = sorted(systems.items())
        raise ShimError(
            f"{side} roots of two systems: `{one}` is for {first}, `{other}` for {second}",
            hint="make a table for each system",
            code=ExitCode.USAGE,
        )
    return next(iter(systems), "")


def host_triples(cross_graph: Sequence[Recipe], native_system: str, systems: Systems) -> list[str]:
    """GNU triples of the native system: those in the cross graph's flags, most used first."""
    processor = native_system.partition("-")[0]
    used = Counter(one.foreign_triple for one in cross_graph if one.foreign_triple)
    found = [triple for triple, _ in sorted(used.items(), key=lambda item: (-item[1], item[0]))]
    known = systems[native_system].triples if native_system in systems else ()
    mine = [triple for triple in found if triple in known or triple.partition("-")[0] == processor]
    return [*mine, *(triple for triple in known if triple not in mine)]
