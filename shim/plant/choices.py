"""A recipe with every use decided: what stands in each place, and the texts that follow from it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from protocol.store.derivation import Recipe
from protocol.store.path import StorePath
from shim.equivalence.platforms import Machine
from shim.plant.counterparts import Chooser
from shim.plant.graph import CrossGraph, Fate, Refused, Use
from shim.plant.guards import Names, guard_env, guard_structured
from shim.plant.plan import Kind, Replacement
from shim.plant.slots import CHECKS, Occurrence, Rewritten, Slot, by_digest, rewrite

_TARGET: Final = "--target="


@dataclass(frozen=True, slots=True)
class Choice:
    """What was put in the place of one use."""

    use: Use
    path: StorePath
    """The new path; the old one where it stays."""
    reason: str


def choose(
    chooser: Chooser, at: StorePath, variable: str, path: StorePath
) -> tuple[StorePath, str]:
    """The native output that takes a cross one's place, and why it.

    Raises:
        Refused: there is none.
    """
    found = chooser.choose(at, variable, path)
    if found is None:
        raise Refused(
            Kind.NO_COUNTERPART, f"no native form of `{path}`, in `{variable}` of `{at.name}`"
        )
    return found


def missing(at: StorePath, use: Use) -> Refused:
    """The refusal for a use that nothing can take the place of."""
    return Refused(
        Kind.NO_COUNTERPART,
        f"`{at.name}` uses `{use.path.name}` of the cross set in `{use.variable}`, and no native"
        " output is paired with it; scan roots that have it",
    )


def apply(
    graph: CrossGraph,
    at: StorePath,
    choices: Iterable[Choice],
    decide: Callable[[Use], Choice],
    *,
    own: Mapping[StorePath, StorePath],
    native: Recipe | None = None,
) -> Rewritten:
    """The texts of the recipe at `at` after all choices.

    Args:
        graph: the cross graph.
        at: the `.drv` to rewrite.
        choices: one for each of its uses.
        decide: what takes the place of a use, for paths that only a guarding list names.
        own: new paths of its own outputs.
        native: the recipe whose guarding lists hold for the result; None for a graft.
    """
    original = graph.recipe(at).derivation
    places: dict[tuple[str, StorePath], tuple[str, str]] = {}
    renamed: dict[str, dict[str, None]] = {old: {new: None} for old, new in own.items()}
    for choice in choices:
        use = choice.use
        places[use.variable, use.path] = choice.path, _inner_folder(graph, use)
        renamed.setdefault(use.path, {})[choice.path] = None

    def put(occurrence: Occurrence) -> tuple[str, str]:
        if occurrence.path in own:
            return own[occurrence.path], ""
        return places.get((occurrence.variable, occurrence.path), (occurrence.path, ""))

    known = by_digest((*own, *(path for _, path in places)))
    rewritten = rewrite(original, known, graph.derivations.store_dir, put)
    guards = _only_guarded(graph, at, decide, renamed)

    def names(word: str) -> list[str]:
        return [*renamed.get(word, ()), *guards.get(word, ())] or [word]

    return _guarded(original, rewritten, native, names)


def replacements(choices: Iterable[Choice]) -> tuple[Replacement, ...]:
    """The choices that change something, for whoever reads the plan."""
    return tuple(
        Replacement(choice.use.variable, choice.use.path, choice.path, choice.reason)
        for choice in choices
        if choice.use.fate is not Fate.KEEP
    )


def _inner_folder(graph: CrossGraph, use: Use) -> str:
    """The folder that only the cross compiler's libraries lie in: `/TRIPLE`, for `/TRIPLE/lib`.

    A native compiler has them in `lib` (gcc's `toolexeclibdir` names its target when that is
    another machine).
    """
    if use.fate is not Fate.REPLACE or graph.machine(use.derivation) is not Machine.BUILD:
        return ""
    flags = graph.recipe(use.derivation).variable("configureFlags").split()
    targets = [flag for flag in flags if flag.startswith(_TARGET)]
    return f"/{targets[-1].removeprefix(_TARGET)}" if targets else ""


def _only_guarded(
    graph: CrossGraph,
    at: StorePath,
    decide: Callable[[Use], Choice],
    renamed: Mapping[str, object],
) -> dict[str, tuple[str, ...]]:
    """Old and new names of outputs that guarding lists name and nothing uses."""
    recipe = graph.recipe(at)
    text = " ".join(recipe.variable(variable) for variable in CHECKS)
    found: dict[str, tuple[str, ...]] = {}
    if not text:
        return found
    for maker, wanted in recipe.derivation.input_derivations.items():
        paths = graph.recipe(maker).outputs
        for output in sorted(wanted.outputs & paths.keys()):
            path = paths[output]
            if path in text and path not in renamed:
                use = Use(CHECKS[0], path, maker, output, graph.fate(Slot.TEXT, maker, path))
                # A list may name what nothing needs: then it has no other name.
                with suppress(Refused):
                    found[path] = tuple(dict.fromkeys((decide(use).path, path)))
    return found


def _guarded(
    original: Recipe, rewritten: Rewritten, native: Recipe | None, names: Names
) -> Rewritten:
    attributes = original.structured()
    if attributes is None:
        guarded = rewritten.setting(guard_env(original.env, native.env if native else {}, names))
        # A stdenv lists all that the closure of the cross libc may hold.  The native libc's closure
        # is another one, and no derivation says what is in it.
        return guarded if native else guarded.without("allowedRequisites")
    theirs = native.structured() if native else None
    return rewritten.setting(guard_structured(attributes, theirs or {}, names))
