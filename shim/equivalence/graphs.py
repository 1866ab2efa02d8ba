"""What two whole graphs say of themselves before they are walked: systems, triples, forgeries."""

from collections import Counter
from collections.abc import Iterable

from protocol.store.path import StorePath
from shim.equivalence.recipe import Recipe, Recipes
from shim.errors import ExitCode, ShimError
from shim.systems import Systems

BUILTIN = "builtin"
"""The platform of derivations that Nix itself carries out: downloads."""


def closure(recipes: Recipes, roots: Iterable[StorePath]) -> list[Recipe]:
    """Every readable derivation below `roots`, inputs before what needs them."""
    ordered: list[Recipe] = []
    entered: set[StorePath] = set()
    stack: list[tuple[StorePath, Recipe | None]] = [(root, None) for root in sorted(set(roots))]
    while stack:
        path, done = stack.pop()
        if done is not None:
            ordered.append(done)
        elif path not in entered:
            entered.add(path)
            recipe = recipes.get(path)
            if recipe is not None:
                stack.append((path, recipe))
                stack += [(below, None) for below in recipe.derivation.input_derivations]
    return ordered


def without_forged(recipes: Recipes, graph: Iterable[Recipe]) -> list[Recipe]:
    """The derivations of `graph` whose output paths follow from them; others become broken."""
    sound = []
    for recipe in graph:
        why = recipes.derivations.forgery(recipe.path)
        if why:
            recipes.reject(recipe.path, why)
        else:
            sound.append(recipe)
    return sound


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


def host_triples(
    cross_graph: Iterable[Recipe],
    native_graph: Iterable[Recipe],
    native_system: str,
    systems: Systems,
) -> list[str]:
    """GNU triples of the native system: those in flags, the cross graph's most used one first."""
    processor = native_system.partition("-")[0]
    used = Counter(one.foreign_triple for one in cross_graph if one.foreign_triple)
    used.update({one.foreign_triple: 0 for one in native_graph if one.foreign_triple})
    found = [triple for triple, _ in sorted(used.items(), key=lambda item: (-item[1], item[0]))]
    known = systems[native_system].triples if native_system in systems else ()
    mine = [triple for triple in found if triple in known or triple.partition("-")[0] == processor]
    return [*mine, *(triple for triple in known if triple not in mine)]
