"""What becomes of every derivation of the cross graph, whichever native derivation is wanted.

A path that a recipe mentions is kept, replaced by its native counterpart, or grafted; DESIGN
section 2 has the rules, `CrossGraph.fate` is their only implementation.  Which of several native
counterparts takes a path's place depends on the native derivation and is asked of
`shim.plant.counterparts`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from protocol.store.derivation import Derivation
from protocol.store.path import StorePath
from shim.equivalence.platforms import Machine, Platforms
from shim.equivalence.recipe import Recipe, Recipes
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.plant.counterparts import Counterparts
from shim.plant.plan import Kind, Refusal
from shim.plant.slots import CHECKS, Slot, slot_of

UNMENTIONED: Final = "(inputs)"
"""The variable of an input that no text of the recipe mentions."""


class Refused(Exception):
    """Planting cannot go on; carries the reason to the top."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(kind, detail)


class Fate(Enum):
    """What is put in the place of a mentioned output."""

    KEEP = auto()
    """The output itself: it runs on the build machine, or is the same everywhere."""
    REPLACE = auto()
    """The native output."""
    GRAFT = auto()
    """The output of its derivation's graft."""
    MISSING = auto()
    """Nothing: it belongs to the target and has no native form."""


@dataclass(frozen=True, slots=True)
class Use:
    """One mention of an input's output."""

    variable: str
    path: StorePath
    derivation: StorePath
    """The `.drv` that makes it."""
    output: str
    fate: Fate


@dataclass(frozen=True, slots=True)
class Shape:
    """A derivation with the fates of all outputs that it uses."""

    derivation: Derivation
    uses: tuple[Use, ...]
    changes: bool
    """Whether any of them does not stay: the derivation reaches a cross host output."""
    opaque: frozenset[StorePath]
    """Compilers that reach cross host outputs and are kept all the same, here or further down."""


class CrossGraph:
    """The cross derivations under one table, with what planting thinks of them."""

    def __init__(self, derivations: Derivations, table: Table, triples: frozenset[str]) -> None:
        """See the class.

        Args:
            derivations: of both sides.
            table: which native output each cross host output stands for.
            triples: GNU triples of the machine that results are for.
        """
        self.derivations = derivations
        self.recipes = Recipes(derivations)
        self.platforms = Platforms(triples, self.recipes)
        self.counterparts = Counterparts(table)
        self._shapes: dict[StorePath, Shape] = {}

    def recipe(self, path: StorePath) -> Recipe:
        """The derivation at `path`, opened up.

        Raises:
            Refused: it cannot be read.
        """
        found = self.recipes.get(path)
        if found is None:
            why = self.recipes.broken[path]
            raise Refused(Kind.UNKNOWN, f"{why.message}; scan both package sets again")
        return found

    def machine(self, path: StorePath) -> Machine:
        """The machine that the derivation at `path` is for.

        A musl or static set inside the cross set has another triple, but is for the same machine;
        so have packages that name platforms in their own way, such as rustc's `riscv64gc`.
        """
        triple = self.recipe(path).foreign_triple
        found = self.platforms.machine(path)
        if found is not Machine.BUILD or triple is None:
            return found
        alike = any(_same_machine(triple, known) for known in self.platforms.triples)
        return Machine.HOST if alike else found

    def is_compiled(self, path: StorePath) -> bool:
        """Whether it unpacks and builds a source; else it writes texts, links and copies.

        A `buildCommand` takes the place of all phases (`setup.sh`), so that a source beside it does
        not count: wrapped packages keep theirs.
        """
        recipe = self.recipe(path)
        return not recipe.variable("buildCommand") and bool(
            recipe.variable("src") or recipe.variable("srcs")
        )

    def opaque(self, path: StorePath) -> frozenset[StorePath]:
        """Compilers that stay as they are when the derivation at `path` does; perhaps itself."""
        if self.machine(path) is Machine.ANY:
            return frozenset()
        shape = self.shape(path)
        if shape.changes and self.machine(path) is Machine.BUILD and self.is_compiled(path):
            return frozenset({path})
        return shape.opaque

    def fate(self, slot: Slot, derivation: StorePath, path: StorePath) -> Fate:
        """What takes the place of an output mentioned in `slot`.

        Args:
            slot: where it is mentioned.
            derivation: the `.drv` that makes it.
            path: the output.
        """
        machine = self.machine(derivation)
        if machine is Machine.ANY:
            return Fate.KEEP
        for_host = machine is Machine.HOST
        compiled = self.is_compiled(derivation)
        if slot is not Slot.BUILD:
            if (for_host and self.counterparts.known(path)) or self.counterparts.library(path):
                return Fate.REPLACE
            if for_host and compiled:
                return Fate.MISSING
        if (compiled and not for_host) or not self.shape(derivation).changes:
            return Fate.KEEP
        return Fate.GRAFT

    def shape(self, path: StorePath) -> Shape:
        """The derivation at `path` with the fates of its inputs; those below it are found first."""
        entered: set[StorePath] = set()
        waiting = [path]
        while waiting:
            top = waiting[-1]
            if top in self._shapes:
                waiting.pop()
                continue
            missing = [each for each in self._below(top) if each not in self._shapes]
            if top in entered and missing:
                raise Refused(Kind.UNKNOWN, f"derivations that need one another: `{top}`")
            entered.add(top)
            if missing:
                waiting += missing
            else:
                self._shapes[top] = self._make_shape(top)
                waiting.pop()
        return self._shapes[path]

    def _below(self, path: StorePath) -> Iterator[StorePath]:
        """Inputs whose own shape decides their fate."""
        for each in self.recipe(path).derivation.input_derivations:
            machine = self.machine(each)
            if machine is Machine.BUILD or (machine is Machine.HOST and not self.is_compiled(each)):
                yield each

    def _make_shape(self, path: StorePath) -> Shape:
        recipe = self.recipe(path)
        uses: dict[Use, None] = {}
        for variable, mentions in recipe.mentions.items():
            slot = slot_of(variable)
            for mention in mentions:
                maker = mention.derivation
                if maker is not None:
                    fate = self.fate(slot, maker, mention.path)
                    uses[Use(variable, mention.path, maker, mention.output, fate)] = None
        for maker, output, made in self._unmentioned(recipe, {use.path for use in uses}):
            fate = self.fate(Slot.TEXT, maker, made)
            uses[Use(UNMENTIONED, made, maker, output, fate)] = None
        kept = {use.derivation for use in uses if use.fate is Fate.KEEP}
        return Shape(
            recipe.derivation,
            tuple(uses),
            changes=any(use.fate is not Fate.KEEP for use in uses),
            opaque=frozenset().union(*(self.opaque(each) for each in kept)),
        )

    def _unmentioned(
        self, recipe: Recipe, mentioned: set[StorePath]
    ) -> Iterator[tuple[StorePath, str, StorePath]]:
        """Inputs that no variable mentions, except those that only a guarding list names."""
        guards = [recipe.variable(variable) for variable in CHECKS]
        for maker, wanted in recipe.derivation.input_derivations.items():
            if wanted.children:
                raise Refused(
                    Kind.UNSUPPORTED,
                    f"inputs that are made by inputs (dynamic derivations): `{recipe.path}`",
                )
            paths = self.recipe(maker).outputs
            for output in sorted(wanted.outputs):
                made = paths.get(output)
                if made is None:
                    raise Refused(
                        Kind.UNKNOWN,
                        f"no known path: output `{output}` of `{maker}`, for `{recipe.path}`",
                    )
                if made not in mentioned and not any(made in text for text in guards):
                    yield maker, output, made


def _same_machine(one: str, other: str) -> bool:
    """Whether two triples are of Linux on processors of which one is named after the other."""
    here, there = one.partition("-")[0], other.partition("-")[0]
    return "linux" in one and (here.startswith(there) or there.startswith(here))
