"""What a request would take, as the planner would go about it (`QueryMissing`).

The nix-daemon is asked first: where it would build nothing foreign, its answer is ours.  Otherwise
the graph is walked from what was asked for.  What is foreign is decided like a real request, so a
plant needs only the native inputs that it names, emulation all of them, and a fixed output with a
counterpart none; what is not foreign is built where the nix-daemon said so.  What is fetched on the
way is asked of it in the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import trio

from protocol.store.derivation import Derivation
from protocol.store.derived_path import Built, DerivedPath, Opaque
from protocol.store.path import StorePath
from protocol.worker.messages import QueryMissing, QueryValidPaths
from protocol.worker.results import Missing
from shim.daemon.building.builds import Builds
from shim.daemon.building.flight import Asker, Wanted
from shim.daemon.nix.upstream import Upstream
from shim.equivalence.source import Derivations
from shim.plan.decision import Counterpart, Cross, Strategy
from shim.plan.graph import outputs_below

AT_ONCE = 8
"""Derivations about which the planner is asked at the same time; each takes a connection."""

Names = dict[StorePath, frozenset[str]]
"""`.drv` -> outputs that are wanted of it."""


@dataclass(slots=True)
class Walk:
    """One question on its way."""

    builds: Builds
    asker: Asker
    upstream: Upstream
    plain: Missing
    """What the nix-daemon would do by itself."""
    fetch: set[StorePath] = field(default_factory=set)
    """Paths that are needed as they are."""
    build: set[StorePath] = field(default_factory=set)
    unknown: set[StorePath] = field(default_factory=set)
    seen: set[StorePath] = field(default_factory=set)
    _asking: trio.Lock = field(default_factory=trio.Lock)

    @property
    def graph(self) -> Derivations:
        """The derivations of the store."""
        return self.asker.graph

    async def answer(self, paths: Iterable[DerivedPath]) -> Missing:
        """Follow everything that `paths` need."""
        fringe: Names = {}
        for path in paths:
            if isinstance(path, Built) and isinstance(path.derivation, StorePath):
                if path.derivation in self.graph:
                    known = frozenset(self.graph[path.derivation].outputs)
                    _add(fringe, path.derivation, path.outputs & known or known)
            elif isinstance(path, Opaque):
                self.fetch.add(path.path)
        while fringe:
            fringe = await self._level(fringe)
        fetched = await self.upstream.ask(QueryMissing(tuple(map(Opaque, sorted(self.fetch)))))
        return replace(
            fetched,
            will_build=frozenset(self.build),
            unknown=fetched.unknown | self.unknown | (self.plain.unknown - self.build),
        )

    async def _level(self, fringe: Names) -> Names:
        """What the derivations of one level need."""
        deeper: Names = {}
        limit = trio.CapacityLimiter(AT_ONCE)

        async def one(drv: StorePath, names: frozenset[str]) -> None:
            async with limit:
                for path, outputs in (await self._one(drv, names)).items():
                    _add(deeper, path, outputs)

        async with trio.open_nursery() as nursery:
            for drv, names in fringe.items():
                if drv not in self.seen:
                    self.seen.add(drv)
                    nursery.start_soon(one, drv, names)
        return deeper

    async def _one(self, drv: StorePath, names: frozenset[str]) -> Names:
        derivation = self.graph[drv]
        known = derivation.output_paths()
        if not self.builds.judges(derivation) or self._is_had(drv, derivation):
            if drv in self.plain.will_build:
                self.build.add(drv)
                return _inputs(derivation)
            self.fetch |= {known[name] for name in names if name in known}
            return {}
        wanted = Wanted(drv, derivation, {name: known[name] for name in names})
        decision = await self.builds.decide(wanted, self.asker)
        if not decision.steps:
            self.unknown.add(drv)
            return {}
        match decision.steps[0]:
            case Cross(plan=plan):
                self.build.add(drv)
                return await self._makers(plan.native_inputs, derivation)
            case Counterpart():
                self.build.add(drv)
                return {}
            case step if step.strategy in {Strategy.VALID, Strategy.SUBSTITUTE}:
                self.fetch |= set(wanted.outputs.values())
                return {}
            case _:
                self.build.add(drv)
                return _inputs(derivation)

    def _is_had(self, drv: StorePath, derivation: Derivation) -> bool:
        """Whether the nix-daemon has said that it need not be built, and no policy has a say."""
        return derivation.is_fixed and drv not in self.plain.will_build

    async def _makers(self, inputs: Iterable[StorePath], derivation: Derivation) -> Names:
        """What makes the native inputs of a plant; what nothing makes has to be fetched."""
        paths = frozenset(inputs)
        self.fetch |= paths
        async with self._asking:
            valid = await self.upstream.ask(QueryValidPaths(paths, substitute=False))
            found = await self.upstream.ask(QueryMissing(tuple(map(Opaque, sorted(paths - valid)))))
        below = await trio.to_thread.run_sync(outputs_below, derivation, self.graph)
        needed: Names = {}
        for path in found.unknown & below.keys():
            drv, name = below[path]
            self.fetch.discard(path)
            _add(needed, drv, frozenset({name}))
        return needed


def _add(names: Names, drv: StorePath, outputs: frozenset[str]) -> None:
    names[drv] = names.get(drv, frozenset()) | outputs


def _inputs(derivation: Derivation) -> Names:
    return {drv: chosen.outputs for drv, chosen in derivation.input_derivations.items()}
