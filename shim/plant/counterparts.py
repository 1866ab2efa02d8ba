"""Which native output takes the place of a cross one, seen from one native derivation.

One cross derivation may stand for several native ones (a package's bootstrap variants, two
compilers' libraries).  What is near the wanted derivation is right: its own pairs first, then its
toolchain, then what the table pairs among its inputs, the nearest first.  Only then anything else
the table knows.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

from protocol.store.path import StorePath
from shim.equivalence.grades import Role
from shim.equivalence.source import Derivations
from shim.equivalence.table import Entry, Table, Toolchain
from shim.plant.native_compiler import NativeCompiler


class Counterparts:
    """What the table offers for cross outputs."""

    def __init__(self, table: Table) -> None:
        """See the class.

        Args:
            table: the pairs.
        """
        self.table = table
        self._candidates: dict[StorePath, tuple[StorePath, ...]] = {}

    @cached_property
    def _libraries(self) -> Mapping[StorePath, tuple[StorePath, ...]]:
        found: dict[StorePath, dict[StorePath, None]] = {}
        for toolchain in self.table.toolchains:
            for pair in toolchain.libraries:
                found.setdefault(pair.cross, {})[pair.native] = None
        return {cross: tuple(natives) for cross, natives in found.items()}

    def known(self, cross: StorePath) -> bool:
        """Whether there is any native form of a cross output."""
        return bool(self.candidates(cross))

    def library(self, cross: StorePath) -> bool:
        """Whether it is a compiler's or libc's output that results are linked to.

        Of a compiler, a table pairs no other outputs; one beside the standard environment's, such
        as gfortran, has no row of its own.
        """
        return cross in self._libraries or any(
            entry.native_of(cross) not in {None, cross}
            for entry in self.table.by_cross(cross)
            if entry.role is Role.TOOLCHAIN
        )

    def candidates(self, cross: StorePath) -> tuple[StorePath, ...]:
        """Every native output that the table takes for `cross`, ascending."""
        found = self._candidates.get(cross)
        if found is None:
            natives = {*self._libraries.get(cross, ())}
            for entry in self.table.by_cross(cross):
                native = None if entry.role is Role.TOOL else entry.native_of(cross)
                natives |= set() if native is None else {native}
            found = self._candidates[cross] = tuple(sorted(natives))
        return found


class Neighbourhood:
    """The build closure of one native derivation: what it brings, and how far away."""

    def __init__(self, derivations: Derivations, native: StorePath) -> None:
        """See the class.

        Args:
            derivations: of the native side; those that are missing are passed over.
            native: the wanted `.drv`.
        """
        self.distances: dict[StorePath, int] = {native: 0}
        """Every native `.drv` that is needed to build it, and its least number of steps away."""
        self.outputs: dict[StorePath, int] = {}
        """Every output that one of them asks for, with the distance of its maker."""
        self.others: dict[StorePath, int] = {}
        """Their other outputs."""
        self.sources: set[StorePath] = set()
        near = [native]
        while near:
            further: list[StorePath] = []
            for path in near:
                if path not in derivations:
                    continue
                derivation = derivations[path]
                self.sources |= derivation.input_sources
                for each, wanted in derivation.input_derivations.items():
                    if each not in self.distances:
                        self.distances[each] = self.distances[path] + 1
                        further.append(each)
                    self._add(derivations, each, wanted.outputs)
            near = further

    def _add(self, derivations: Derivations, path: StorePath, wanted: frozenset[str]) -> None:
        if path not in derivations:
            return
        for name, output in derivations[path].output_paths().items():
            distances = self.outputs if name in wanted else self.others
            distances.setdefault(output, self.distances[path])

    def rank(self, output: StorePath) -> tuple[int, int, StorePath]:
        """Sorts outputs: asked for by an input first, then its siblings, then strangers."""
        if output in self.outputs:
            return 0, self.outputs[output], output
        if output in self.others:
            return 1, self.others[output], output
        return 2, 0, output


class Chooser:
    """Chooses the native outputs for one native derivation and its cross counterpart."""

    def __init__(
        self,
        counterparts: Counterparts,
        neighbourhood: Neighbourhood,
        entry: Entry,
        toolchain: Toolchain | None,
        compiler: NativeCompiler | None,
    ) -> None:
        """See the class.

        Args:
            counterparts: what the table offers.
            neighbourhood: of the native derivation.
            entry: the pair that is planted.
            toolchain: the row of its standard environments.
            compiler: the native one.
        """
        self.compiler = compiler
        self._counterparts = counterparts
        self._near = neighbourhood
        self._entry = entry
        self._toolchain = toolchain
        self._chosen: dict[tuple[StorePath, str, StorePath], tuple[StorePath, str] | None] = {}

    def choose(
        self, at: StorePath, variable: str, cross: StorePath
    ) -> tuple[StorePath, str] | None:
        """The native output for a cross one, and why it; None where the table has none.

        Args:
            at: the cross `.drv` that mentions it.
            variable: where it is mentioned.
            cross: the output to replace.
        """
        key = at, variable, cross
        if key not in self._chosen:
            self._chosen[key] = next(self._offers(*key), None)
        return self._chosen[key]

    def _offers(
        self, at: StorePath, variable: str, cross: StorePath
    ) -> Iterator[tuple[StorePath, str]]:
        candidates = self._counterparts.candidates(cross)
        own = at == self._entry.cross
        if own:
            yield from self._paired((self._entry,), variable, cross)
        for pair in self._toolchain.libraries if self._toolchain else ():
            if pair.cross == cross:
                yield pair.native, f"toolchain: {pair.slot}"
        if not own:
            yield from self._paired(self._near_entries(at), variable, cross)
        for native in sorted(candidates, key=self._near.rank):
            known = self._near.rank(native)[0] < 2
            yield native, "paired; among the inputs" if known else "paired; not among the inputs"

    def _near_entries(self, at: StorePath) -> tuple[Entry, ...]:
        distances = self._near.distances
        found = [
            entry
            for entry in self._counterparts.table.by_cross(at)
            if entry.cross == at and entry.native in distances
        ]
        return tuple(sorted(found, key=lambda entry: (distances[entry.native], entry.native)))

    def _paired(
        self, entries: tuple[Entry, ...], variable: str, cross: StorePath
    ) -> Iterator[tuple[StorePath, str]]:
        candidates = self._counterparts.candidates(cross)
        for same_slot in (True, False):
            for entry in entries:
                for pair in entry.inputs:
                    if (
                        pair.cross == cross
                        and (pair.slot == variable) is same_slot
                        and pair.native in candidates
                    ):
                        yield pair.native, f"paired in {pair.slot}: {pair.reason}"
