"""What the walk did not pair: counterparts found in another way, and reasons where there is none.

A cross recipe may name a library or program that the native one takes from its standard
environment (`pwd` of coreutils, in perl).  It has no native mention to stand beside, so it is
looked up in the whole native graph, and taken only where name, outputs and sources leave one.
"""

from collections.abc import Iterable, Iterator, Sequence

from protocol.store.path import StorePath
from shim.equivalence.platforms import Machine, Platforms
from shim.equivalence.recipe import Recipe


def adopt(
    native_graph: Sequence[Recipe],
    cross_graph: Sequence[Recipe],
    platforms: Platforms,
    paired: frozenset[StorePath],
) -> Iterator[tuple[StorePath, StorePath]]:
    """Native and cross derivation of pairs that follow from name, outputs and sources alone.

    Args:
        native_graph: inputs before what needs them.
        cross_graph: the same.
        platforms: tells machines of the cross graph apart.
        paired: derivations of both graphs that have a counterpart for the host already.
    """
    natives = _by_name(native_graph, platforms)
    crosses = _by_name(
        (one for one in cross_graph if platforms.machine(one.path) is Machine.HOST), platforms
    )
    for name, found in sorted(crosses.items()):
        candidates = natives.get(name, ())
        if len(found) != 1 or any(one.path in paired for one in (*found, *candidates)):
            continue
        [cross] = found
        alike = [one for one in candidates if _alike(one, cross)]
        if len(alike) == len(candidates) > 0 and (native := _latest(alike, native_graph)):
            yield native.path, cross.path


def _by_name(
    recipes: Iterator[Recipe] | Sequence[Recipe], platforms: Platforms
) -> dict[str, list[Recipe]]:
    named: dict[str, list[Recipe]] = {}
    for one in recipes:
        if not one.is_fixed and _sources(one):
            named.setdefault(platforms.plain(one.derivation.name), []).append(one)
    return named


def _alike(native: Recipe, cross: Recipe) -> bool:
    own = native.foreign_triple
    return (
        _sources(native) == _sources(cross)
        and native.outputs.keys() == cross.outputs.keys()
        and (own is None or own == cross.foreign_triple)
    )


def _sources(recipe: Recipe) -> list[StorePath]:
    return [one.path for slot in ("src", "srcs") for one in recipe.mentions.get(slot, ())]


def _latest(variants: Sequence[Recipe], graph: Sequence[Recipe]) -> Recipe | None:
    """The variant that is built with the help of all others: the end of a bootstrap."""
    if len(variants) == 1:
        return variants[0]
    places = {one.path: i for i, one in enumerate(graph)}
    *earlier, last = sorted(variants, key=lambda one: places[one.path])
    below = _below(last, {one.path: one for one in graph})
    return last if all(one.path in below for one in earlier) else None


def _below(recipe: Recipe, graph: dict[StorePath, Recipe]) -> set[StorePath]:
    seen: set[StorePath] = set()
    stack = [recipe.path]
    while stack:
        one = graph.get(stack.pop())
        if one is not None:
            new = one.derivation.input_derivations.keys() - seen
            seen |= new
            stack += new
    return seen


def users(unpaired: Iterable[Recipe]) -> dict[StorePath, str]:
    """Input -> name of one of the derivations `unpaired` that use it."""
    above: dict[StorePath, str] = {}
    for recipe in sorted(unpaired, key=lambda one: one.path, reverse=True):
        name = recipe.derivation.name
        above.update((path, name) for path in recipe.derivation.input_derivations)
    return above


def why_unmet(mentions: set[tuple[str, str]] | None, user: str | None) -> str:
    """Why the walk met no counterpart of a derivation.

    Args:
        mentions: name and variable of paired recipes that mention it, where their counterpart
            mentions nothing like it.
        user: name of an unpaired derivation that uses it.
    """
    if mentions:
        name, slot = min(mentions)
        return f"`{slot}` of `{name}` mentions it, the other half of that pair does not"
    if user:
        return f"reached only through `{user}`, which has no counterpart"
    return "no variable that was compared mentions it"
