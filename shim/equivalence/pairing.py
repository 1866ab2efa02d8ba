"""From two derivation graphs and pairs of roots to an equivalence table.

The walk sees candidates; this module decides between them, by evidence only: no package names and
no order of roots.  What stays undecided is kept as several entries and shows up as a conflict.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from protocol.store.path import StorePath
from shim.equivalence.differences import Judge, worst
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.graphs import closure, host_triples, system_of, without_forged
from shim.equivalence.leftovers import adopt, users, why_unmet
from shim.equivalence.platforms import Machine, Platforms
from shim.equivalence.recipe import Recipe, Recipes
from shim.equivalence.source import Derivations
from shim.equivalence.table import (
    UNKNOWN,
    Entry,
    InputPair,
    Provenance,
    Table,
    Toolchain,
    Unpaired,
)
from shim.equivalence.walk import (
    ADOPTED,
    LIBC_SLOTS,
    ROOT,
    SAME_TEXT,
    Candidate,
    Evidence,
    Walk,
    is_compiler_wrapper,
    linked_libcs,
)
from shim.errors import ExitCode, ShimError
from shim.systems import SYSTEMS, Systems

COMPILER_LIBRARIES: Final = ("lib", "libgcc")
"""Outputs of a cross compiler that hold code for the host.  nixpkgs' gcc moves its target libraries
to `lib`; the native one has `libgcc` besides.  All other outputs run on the build machine."""

IDENTICAL: Final = "same outputs"
SPLIT: Final = "the compiler's `libgcc`, a derivation of its own in the cross set"

Root = tuple[StorePath, StorePath]


def pair(
    derivations: Derivations,
    roots: Iterable[Root],
    *,
    provenance: Provenance = UNKNOWN,
    systems: Systems = SYSTEMS,
) -> Table:
    """Walk both graphs from `roots` (native, cross) and make the table of what corresponds.

    Derivations below the roots that cannot be read are left out and listed as unpaired.

    Raises:
        ShimError: no roots, a root that cannot be read, or roots of several systems.
    """
    ordered = sorted(set(roots))
    if not ordered:
        raise ShimError("no pair of roots is given", code=ExitCode.USAGE)
    with _without_collection():
        return _Pairing(derivations, ordered, provenance, systems).table()


@contextmanager
def _without_collection() -> Iterator[None]:
    """Nothing made here is cyclic garbage: looking for it would take a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Pairing:
    def __init__(
        self,
        derivations: Derivations,
        roots: Sequence[Root],
        provenance: Provenance,
        systems: Systems,
    ) -> None:
        self.recipes = Recipes(derivations)
        self.roots = roots
        native_system = system_of(self.recipes, (native for native, _ in roots), "native")
        build_system = system_of(self.recipes, (cross for _, cross in roots), "cross")
        native_graph = closure(self.recipes, (native for native, _ in roots))
        cross_graph = closure(self.recipes, (cross for _, cross in roots))
        self.native_graph = without_forged(self.recipes, native_graph)
        self.cross_graph = without_forged(self.recipes, cross_graph)
        triples = host_triples(self.cross_graph, self.native_graph, native_system, systems)
        self.platforms = Platforms(triples, self.recipes)
        for recipe in self.cross_graph:
            self.platforms.machine(recipe.path)  # from the inputs upwards: never deep recursion
        tools = (one for one in self.cross_graph if self.platforms.is_tool_name(one.path.name))
        self.libcs = linked_libcs(tools)
        self.walk = Walk(self.recipes, self.platforms, self.libcs)
        self.judge = Judge(self.platforms)
        self.outranked: dict[StorePath, str] = {}
        """Cross derivation -> which other one was preferred; of use for those in no entry."""
        self.provenance = replace(
            provenance,
            native_system=native_system,
            build_system=build_system,
            triple=triples[0] if triples else "",
            roots=tuple(roots),
        )

    def table(self) -> Table:
        self.walk.run(self.roots, ROOT)
        while adopted := list(self.adopt()):
            self.walk.run(adopted, ADOPTED)
        entries = [self.entry(candidate, reason) for candidate, reason in self.choose()]
        split = list(self.split_compilers(entries))
        entries = sorted([*entries, *split], key=lambda one: (one.native, one.role, one.cross))
        return Table.of(
            entries,
            provenance=self.provenance,
            toolchains=tuple(self.toolchains(split)),
            unpaired=tuple(self.unpaired(entries)),
        )

    def recipe(self, path: StorePath) -> Recipe:
        """A recipe that is known to be readable."""
        recipe = self.recipes.get(path)
        assert recipe is not None
        return recipe

    def adopt(self) -> Iterator[Root]:
        """Pairs that no mention shows, but the whole graphs do."""
        paired = {
            path
            for one in self.walk.sightings.candidates
            if one.role is not Role.TOOL
            for path in (one.native, one.cross)
        }
        return adopt(self.native_graph, self.cross_graph, self.platforms, frozenset(paired))

    # Deciding between candidates

    def choose(self) -> Iterator[tuple[Candidate, str]]:
        """The candidates that become entries, and why."""
        groups: dict[tuple[StorePath, Role], list[tuple[Candidate, Evidence]]] = {}
        for candidate, evidence in self.walk.sightings.candidates.items():
            if self.recipes.get(candidate.native) and self.recipes.get(candidate.cross):
                group = groups.setdefault((candidate.native, candidate.role), [])
                group.append((candidate, evidence))
        for (_, role), group in groups.items():
            packages = [one for one in group if one[0].cross not in self.libcs]
            best = [*self.best(packages or group if role is Role.HOST else group)]
            yield from best
            nearest = (
                f"`{best[0][0].cross.base}` is nearer to the native `{best[0][0].native.name}`"
            )
            self.outranked.update((one.cross, nearest) for one, _ in group)

    def best(self, group: Sequence[tuple[Candidate, Evidence]]) -> Iterator[tuple[Candidate, str]]:
        """The nearest of several candidates for one native derivation in one role; all that tie.

        Cross derivations that make the same outputs are one candidate: only their ways to fetch a
        source differ.  A tie between tools is settled by path: either does.
        """
        if len(group) == 1:
            [(candidate, evidence)] = group
            yield candidate, evidence.reason()
            return
        ranked = sorted(
            ((self.distance(*one), one[0].cross, one) for one in group), key=lambda item: item[:2]
        )
        nearest, taken = ranked[0][0], set[tuple[StorePath, ...]]()
        for distance, _, (candidate, evidence) in ranked:
            outputs = tuple(self.recipe(candidate.cross).outputs.values())
            settled = taken and candidate.role is Role.TOOL
            if distance == nearest and outputs not in taken and not settled:
                taken.add(outputs)
                yield candidate, f"{evidence.reason()}; nearest of {len(group)} candidates"

    def distance(self, candidate: Candidate, evidence: Evidence) -> tuple[int, ...]:
        """How far apart the two recipes of a candidate are; smaller is nearer."""
        native, cross = self.recipe(candidate.native), self.recipe(candidate.cross)
        differences = self.judge.differences(native, cross)
        compared = self.walk.compare(candidate.native, candidate.cross)
        return (
            evidence.given != ROOT,
            self.stage(native) != self.stage(cross),
            sum(one.difference_class is DifferenceClass.SEMANTIC for one in differences),
            len(compared.only_native) + len(compared.only_cross),
            len(differences),
        )

    def stage(self, recipe: Recipe) -> str:
        """Name of the standard environment: tells bootstrap stages of one package apart."""
        mentions = recipe.mentions.get("stdenv")
        return mentions[0].path.name if mentions else ""

    # Making rows

    def entry(self, candidate: Candidate, reason: str) -> Entry:
        """The row of a chosen candidate."""
        native, cross = self.recipe(candidate.native), self.recipe(candidate.cross)
        identical = native.outputs == cross.outputs
        differences = () if identical else self.judge.differences(native, cross)
        inputs: tuple[InputPair, ...] = ()
        if candidate.role is not Role.TOOL and not identical:
            inputs = self.walk.compare(candidate.native, candidate.cross).pairs
        return Entry(
            native=candidate.native,
            cross=candidate.cross,
            native_outputs=native.outputs,
            cross_outputs=cross.outputs,
            role=candidate.role,
            difference_class=worst(differences),
            grade=self.grade(native, cross, reason),
            reason=IDENTICAL if identical and reason != ROOT else reason,
            pairing={name: name for name in self.common_outputs(candidate, native, cross)},
            inputs=inputs,
            differences=differences,
        )

    def grade(self, native: Recipe, cross: Recipe, reason: str) -> Grade:
        """What the pairing alone proves; building and comparing raise it later."""
        if native.outputs == cross.outputs:
            return Grade.IDENTICAL
        plain = self.platforms.plain
        if reason == ROOT and plain(native.derivation.name) != plain(cross.derivation.name):
            return Grade.DECLARED
        return Grade.CHECKED

    def common_outputs(self, candidate: Candidate, native: Recipe, cross: Recipe) -> Iterator[str]:
        """Outputs that correspond; of a part of the toolchain only those that hold host code."""
        on_build = self.platforms.machine(candidate.cross) is Machine.BUILD
        for name in native.outputs:
            if name in cross.outputs and (
                candidate.role is not Role.TOOLCHAIN or not on_build or name in COMPILER_LIBRARIES
            ):
                yield name

    def split_compilers(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """The native compilers' `libgcc` output, which in the cross set is a derivation of its own.

        It is found where a libc mentions its compiler's `libgcc`: at that place the cross libc
        mentions another derivation for the host.
        """
        makers = {
            one.outputs["libgcc"]: one for one in self.native_graph if "libgcc" in one.outputs
        }
        stand_ins = {
            one.cross: makers[one.native]
            for entry in entries
            if entry.cross in self.libcs
            for one in entry.inputs
            if one.reason == SAME_TEXT and one.native in makers
        }
        compilers = {one.native: one.cross for one in entries if one.role is Role.TOOLCHAIN}
        for recipe in self.cross_graph:
            if self.platforms.machine(recipe.path) is not Machine.HOST:
                continue
            triple = recipe.foreign_triple
            for name in sorted(name for name, path in recipe.outputs.items() if path in stand_ins):
                mentioned = stand_ins[recipe.outputs[name]]
                for maker in makers.values():
                    compiler = compilers.get(maker.path, maker.path)
                    if maker is mentioned or compiler.name.startswith(f"{triple}-"):
                        yield self.split(maker, recipe, name)

    def split(self, compiler: Recipe, library: Recipe, output: str) -> Entry:
        """The row of one native compiler's `libgcc`."""
        return Entry(
            native=compiler.path,
            cross=library.path,
            native_outputs=compiler.outputs,
            cross_outputs=library.outputs,
            role=Role.TOOLCHAIN,
            difference_class=DifferenceClass.NOTABLE,
            grade=Grade.CHECKED,
            reason=SPLIT,
            pairing={"libgcc": output},
            inputs=(),
            differences=(),
        )

    def toolchains(self, split: Sequence[Entry]) -> Iterator[Toolchain]:
        """A row for each pair of standard environments that a pair of packages is built with."""
        for candidate, evidence in sorted(
            self.walk.sightings.candidates.items(), key=lambda item: item[0]
        ):
            if candidate.role is Role.TOOLCHAIN and evidence.slots() == {"stdenv"}:
                yield self.toolchain(candidate, evidence, split)

    def toolchain(
        self, candidate: Candidate, evidence: Evidence, split: Sequence[Entry]
    ) -> Toolchain:
        """The row of two standard environments: their compilers and what compiled code needs."""
        compared = self.walk.compare(candidate.native, candidate.cross)
        row = Toolchain(
            native=candidate.native,
            cross=candidate.cross,
            triple=self.provenance.triple,
            native_compiler=None,
            cross_compiler=None,
            libraries=(),
            reason=evidence.reason(),
        )
        for left, right, *_ in compared.follow:
            if left.derivation is None or right.derivation is None:
                continue
            if is_compiler_wrapper(self.recipe(left.derivation)):
                pairs = self.walk.compare(left.derivation, right.derivation).pairs
                row = replace(
                    row,
                    native_compiler=left.path,
                    cross_compiler=right.path,
                    libraries=(
                        *(one for one in pairs if one.slot in LIBC_SLOTS),
                        *self.compiler_libraries(left.derivation, right.derivation, split),
                    ),
                )
        return row

    def compiler_libraries(
        self, native: StorePath, cross: StorePath, split: Sequence[Entry]
    ) -> Iterator[InputPair]:
        """Library outputs of the compilers inside two wrappers, as slots `cc.lib`, `cc.libgcc`."""
        for left, right, slot, how in self.walk.compare(native, cross).follow:
            if slot != "cc" or left.derivation is None or right.derivation is None:
                continue
            one, other = self.recipe(left.derivation), self.recipe(right.derivation)
            for name in COMPILER_LIBRARIES:
                if name in one.outputs and name in other.outputs:
                    yield InputPair(
                        f"cc.{name}", one.outputs[name], other.outputs[name], Role.TOOLCHAIN, how
                    )
            for entry in split:
                if entry.native == one.path:
                    for library, stand_in in entry.output_pairs():
                        yield InputPair("cc.libgcc", library, stand_in, Role.TOOLCHAIN, SPLIT)

    # What is left over

    def unpaired(self, entries: Sequence[Entry]) -> Iterator[Unpaired]:
        """Derivations without a counterpart: native ones, and cross ones that are for the host."""
        natives, crosses = {one.native for one in entries}, {one.cross for one in entries}
        seen = self.walk.sightings
        for path, error in sorted(self.recipes.broken.items()):
            yield Unpaired(path, native=True, reason=f"cannot be read: {error.why}")
        left = [one for one in self.native_graph if one.path not in natives]
        above = users(left)
        for recipe in sorted(left, key=lambda one: one.path):
            refused = "; ".join(sorted(seen.refused.get(recipe.path, ())))
            reason = refused or why_unmet(seen.missing.get(recipe.path), above.get(recipe.path))
            yield Unpaired(recipe.path, native=True, reason=reason)
        left = [
            one
            for one in self.cross_graph
            if one.path not in crosses and self.platforms.machine(one.path) is not Machine.ANY
        ]
        above = users(left)
        for recipe in sorted(left, key=lambda one: one.path):
            if self.platforms.machine(recipe.path) is Machine.HOST:
                reason = self.outranked.get(recipe.path) or why_unmet(
                    seen.extra.get(recipe.path), above.get(recipe.path)
                )
                yield Unpaired(recipe.path, native=False, reason=reason)
