"""The parallel walk: which native and cross derivations stand at the same place of their graphs.

Two derivations that correspond mention their inputs in the same variables and, by name, in the same
order.  From the given roots the walk follows every such correspondence once and records what it
saw; it weighs nothing and drops nothing, so its result does not depend on the order of the roots.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from protocol.store.path import StorePath
from shim.equivalence.align import MAX_CELLS, align
from shim.equivalence.grades import Role
from shim.equivalence.platforms import Machine, Platforms
from shim.equivalence.recipe import Mention, Recipe, Recipes
from shim.equivalence.table import InputPair

LIBC_SLOTS: Final = ("libc_lib", "libc_dev", "libc_bin", "libc")
"""Variables by which nixpkgs' compiler and linker wrappers name the libc they link to."""

TOOLCHAIN_SLOTS: Final = ("stdenv", "cc", "bintools", *LIBC_SLOTS)
"""Variables that hold one part of a toolchain, whatever its name: bootstrap stages name theirs
differently, and the cross set has no stages."""

_ASSIGNED: Final = re.compile(r"(?<![^\s\"'])[\w.-]+=[\"']?$")
"""The end of a text that gives what follows it a name."""

_BLANK: Final = re.compile(r"[\s\"']")

SAME_PATH: Final = "same path"
SAME_NAME: Final = "same name and place"
SAME_TEXT: Final = "same text around it"
SAME_PART: Final = "same part of the toolchain"
ROOT: Final = "given as a root pair"
ADOPTED: Final = "the one of this name and source in both graphs"


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A native derivation and a possible counterpart."""

    native: StorePath
    role: Role
    cross: StorePath


@dataclass(slots=True)
class Evidence:
    """Where a candidate was seen."""

    given: str = ""
    """Why it was given to the walk to start from; empty if it was met on the way."""
    seen_from: set[tuple[str, str, str]] = field(default_factory=set)
    """Name of the native derivation that mentions it, in which variable, and what made the pair."""

    def slots(self) -> set[str]:
        """Variables that mention it."""
        return {slot for _, slot, _ in self.seen_from}

    def reason(self) -> str:
        """One sentence, the same for the same set of sightings."""
        if self.given:
            return self.given
        name, slot, how = min(self.seen_from)
        return f"{how} in `{slot}` of `{name}`"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two recipes input by input gave."""

    pairs: tuple[InputPair, ...]
    follow: tuple[tuple[Mention, Mention, str, str], ...]
    """Mentions that correspond by more than their place; the variable, and what made the pair."""
    only_native: tuple[tuple[str, Mention], ...]
    """Variable and mention without a counterpart."""
    only_cross: tuple[tuple[str, Mention], ...]


@dataclass(slots=True)
class Sightings:
    """All that one walk saw."""

    candidates: dict[Candidate, Evidence] = field(default_factory=dict)
    missing: dict[StorePath, set[tuple[str, str]]] = field(default_factory=dict)
    """Native derivation -> name and variable of recipes whose counterpart does not mention it."""
    extra: dict[StorePath, set[tuple[str, str]]] = field(default_factory=dict)
    """The same for cross derivations."""
    refused: dict[StorePath, set[str]] = field(default_factory=dict)
    """Native derivation -> why what stands at its place is not its counterpart."""


class Walk:
    """Walks from root pairs; `sightings` holds the result."""

    def __init__(self, recipes: Recipes, platforms: Platforms, libcs: frozenset[StorePath]) -> None:
        """See the class.

        Args:
            recipes: both graphs.
            platforms: tells machines of the cross graph apart.
            libcs: the cross derivations that the cross compilers link to (`linked_libcs`).
        """
        self.sightings = Sightings()
        self._recipes = recipes
        self._platforms = platforms
        self._libcs = libcs
        self._compared: dict[tuple[StorePath, StorePath], Comparison] = {}

    def run(self, roots: Iterable[tuple[StorePath, StorePath]], why: str) -> None:
        """Walk everything that hangs on `roots`, which are given because of `why`."""
        queue: deque[Candidate] = deque()

        def see(candidate: Candidate) -> Evidence:
            evidence = self.sightings.candidates.get(candidate)
            if evidence is None:
                evidence = self.sightings.candidates[candidate] = Evidence()
                queue.append(candidate)
            return evidence

        for root, counterpart in sorted(set(roots)):
            see(Candidate(root, self._role_of_root(counterpart), counterpart)).given = why
        while queue:
            candidate = queue.popleft()
            native = self._recipes.get(candidate.native)
            if native is None or self._recipes.get(candidate.cross) is None or native.is_fixed:
                continue
            comparison = self.compare(candidate.native, candidate.cross)
            for left, right, slot, how in comparison.follow:
                if left.derivation is None or right.derivation is None:
                    continue
                role = self._role(candidate, slot, right.derivation)
                if how == SAME_PART and role is not Role.TOOLCHAIN:
                    continue
                found = Candidate(left.derivation, role, right.derivation)
                if self._admissible(found):
                    see(found).seen_from.add((native.derivation.name, slot, how))
            for unmet, into in (
                (comparison.only_native, self.sightings.missing),
                (comparison.only_cross, self.sightings.extra),
            ):
                for slot, mention in unmet:
                    if mention.derivation is not None:
                        into.setdefault(mention.derivation, set()).add(
                            (native.derivation.name, slot)
                        )

    def _role_of_root(self, cross: StorePath) -> Role:
        if self.is_tool(cross):
            return Role.TOOLCHAIN
        return Role.TOOL if self._platforms.machine(cross) is Machine.BUILD else Role.HOST

    def _role(self, parent: Candidate, slot: str, cross: StorePath) -> Role:
        """What the derivation `cross`, mentioned in `slot` of the parent's counterpart, is for."""
        machine = self._platforms.machine(cross)
        if machine is Machine.ANY:
            return Role.HOST
        if machine is Machine.HOST:
            return Role.TOOLCHAIN if cross in self._libcs else Role.HOST
        if self.is_tool(cross):
            return Role.TOOLCHAIN
        for_host = self._platforms.machine(parent.cross) is Machine.HOST
        return Role.TOOLCHAIN if slot == "stdenv" and for_host else Role.TOOL

    def _admissible(self, found: Candidate) -> bool:
        """Refuse, and say why, pairs of one name that cannot be the same thing."""
        native, cross = self._recipes.get(found.native), self._recipes.get(found.cross)
        if native is None or cross is None:
            return False
        why = ""
        own, other = native.foreign_triple, cross.foreign_triple
        if native.is_fixed or cross.is_fixed:
            if native.outputs != cross.outputs:
                why = f"another content is fetched in the cross graph: `{cross.path}`"
        elif found.role is Role.HOST and own is not None and own != other:
            # A native static or musl package is itself a cross build, on both sides for one triple.
            why = f"built for `{own}`, in the cross graph for `{other}`: `{cross.path}`"
        if why:
            self.sightings.refused.setdefault(found.native, set()).add(why)
        return not why

    def compare(self, native: StorePath, cross: StorePath) -> Comparison:
        """Compare two recipes that can be read, input by input."""
        known = self._compared.get((native, cross))
        if known is None:
            left, right = self._recipes.get(native), self._recipes.get(cross)
            assert left is not None
            assert right is not None
            known = self._compared[native, cross] = self._compare(left, right)
        return known

    def _compare(self, native: Recipe, cross: Recipe) -> Comparison:
        pairs: set[InputPair] = set()
        follow: list[tuple[Mention, Mention, str, str]] = []
        only_native: list[tuple[str, Mention]] = []
        only_cross: list[tuple[str, Mention]] = []
        cells = MAX_CELLS
        for slot in sorted(native.mentions.keys() | cross.mentions.keys()):
            left, right = native.mentions.get(slot, ()), cross.mentions.get(slot, ())
            aligned, taken = align([*map(self._key, left)], [*map(self._key, right)], cells)
            cells -= taken
            named = {*aligned}
            parts = set(self._same_part(slot, left, right, aligned))
            texts = {
                *self._same_place(left, right, aligned),
                *self._same_word(left, right, named | parts),
            } - parts
            for met, how in ((named, SAME_NAME), (parts, SAME_PART), (texts, SAME_TEXT)):
                for i, j in sorted(met):
                    pairs.add(self._pair(slot, left[i], right[j], how))
                    if how != SAME_TEXT:
                        follow.append((left[i], right[j], slot, how))
            met_left, met_right = (
                {*side} for side in zip(*(named | parts | {(-1, -1)}), strict=True)
            )
            only_native += [(slot, m) for i, m in enumerate(left) if i not in met_left]
            only_cross += [(slot, m) for j, m in enumerate(right) if j not in met_right]
        ordered = tuple(sorted(pairs, key=lambda pair: (pair.slot, pair.native, pair.cross)))
        return Comparison(ordered, tuple(follow), tuple(only_native), tuple(only_cross))

    def _same_part(
        self,
        slot: str,
        left: Sequence[Mention],
        right: Sequence[Mention],
        aligned: Sequence[tuple[int, int]],
    ) -> Iterator[tuple[int, int]]:
        """Parts of a toolchain that correspond although their names differ."""
        lone_left = [i for i in range(len(left)) if i not in {i for i, _ in aligned}]
        lone_right = [j for j in range(len(right)) if j not in {j for _, j in aligned}]
        if slot not in TOOLCHAIN_SLOTS:
            lone_left = [i for i in lone_left if self._wraps_compiler(left[i])]
            lone_right = [j for j in lone_right if self._wraps_compiler(right[j])]
        if len(lone_left) == len(lone_right) == 1:
            yield lone_left[0], lone_right[0]

    def _wraps_compiler(self, mention: Mention) -> bool:
        recipe = self._recipes.get(mention.derivation) if mention.derivation else None
        return recipe is not None and is_compiler_wrapper(recipe)

    def _pair(self, slot: str, native: Mention, cross: Mention, reason: str) -> InputPair:
        if native.path == cross.path:
            return InputPair(slot, native.path, cross.path, Role.HOST, SAME_PATH)
        role = Role.HOST
        if cross.derivation is not None:
            if cross.derivation in self._libcs or self.is_tool(cross.derivation):
                role = Role.TOOLCHAIN
            elif self._platforms.machine(cross.derivation) is Machine.BUILD:
                role = Role.TOOLCHAIN if slot == "stdenv" else Role.TOOL
        return InputPair(slot, native.path, cross.path, role, reason)

    def is_tool(self, path: StorePath) -> bool:
        """Whether a cross derivation makes or handles code for the host, by its name's prefix."""
        return self._platforms.is_tool_name(path.name)

    def _key(self, mention: Mention) -> tuple[str, str]:
        """What corresponding mentions share: the name without triple, and the output."""
        name = mention.path.name
        if mention.derivation is not None:
            name = mention.derivation.name.removesuffix(".drv")
        return self._platforms.plain(name), mention.output

    def _same_place(
        self,
        left: Sequence[Mention],
        right: Sequence[Mention],
        aligned: Sequence[tuple[int, int]],
    ) -> Iterator[tuple[int, int]]:
        """Single mentions of different names between aligned ones, with equal text around them.

        A bare list has no text around its items, so there nothing but the name can tell.
        """
        edges = [(-1, -1), *aligned, (len(left), len(right))]
        for (i, j), (k, m) in pairwise(edges):
            if k - i == 2 and m - j == 2:
                text = self._around(left[i + 1])
                if any(map(str.strip, text)) and text == self._around(right[j + 1]):
                    yield i + 1, j + 1

    def _same_word(
        self,
        left: Sequence[Mention],
        right: Sequence[Mention],
        met: Iterable[tuple[int, int]],
    ) -> Iterator[tuple[int, int]]:
        """Values of the same assignment (`name=.../lib`), which both sides make only once."""
        places: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        for side, mentions in enumerate((left, right)):
            known = {pair[side] for pair in met}
            for i, mention in enumerate(mentions):
                before, after = self._around(mention)
                name = _ASSIGNED.search(before)
                if i not in known and name is not None:
                    word = name[0], _BLANK.split(after, maxsplit=1)[0]
                    places.setdefault(word, ([], []))[side].append(i)
        for one, other in places.values():
            if len(one) == len(other) == 1:
                yield one[0], other[0]

    def _around(self, mention: Mention) -> tuple[str, str]:
        neutral = self._platforms.neutral
        return neutral(mention.before), neutral(mention.after)


def is_compiler_wrapper(recipe: Recipe) -> bool:
    """Whether a recipe makes a compiler wrapper as nixpkgs does: around a `cc` and a libc."""
    return "cc" in recipe.mentions and any(slot in recipe.mentions for slot in LIBC_SLOTS)


def linked_libcs(recipes: Iterable[Recipe]) -> frozenset[StorePath]:
    """The derivations of the libcs that the wrappers among `recipes` link to."""
    return frozenset(
        mention.derivation
        for recipe in recipes
        for slot in LIBC_SLOTS
        for mention in recipe.mentions.get(slot, ())
        if mention.derivation is not None
    )
