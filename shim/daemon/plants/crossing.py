"""The strategy `cross`: bring the native inputs, wait for a place, plant, name the outputs."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import structlog
import trio

from protocol.store.build_result import BuildResult
from protocol.store.path import StorePath
from protocol.worker.messages import QueryValidPaths
from shim.daemon.building.flight import Flight
from shim.daemon.building.keeping import Keeper
from shim.daemon.building.narrator import BuildLog
from shim.daemon.building.outcomes import Outcome
from shim.daemon.nix.nixstore import Nix
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused
from shim.daemon.plants.planting import Job, Planted, Planter
from shim.daemon.tables import Tables
from shim.errors import ShimError
from shim.plan.decision import Cross
from shim.plan.failures import Kind, StepFailed
from shim.plan.graph import direct_inputs, outputs_below
from shim.plant.plan import Decline

log = structlog.get_logger()

MakeInputs = Callable[[Flight, dict[StorePath, frozenset[str]]], Awaitable[None]]
"""Makes outputs of `.drv`s of the flight's graph; StepFailed if one cannot be had."""

Place = Callable[[Flight, BuildLog], AbstractAsyncContextManager[None]]


class Crossing:
    """See the module."""

    def __init__(
        self,
        serving: Nix,
        planter: Planter,
        tables: Tables,
        keeper: Keeper,
        inputs: MakeInputs,
        place: Place,
    ) -> None:
        self._serving = serving
        self._keeper = keeper
        self._planter = planter
        self._tables = tables
        self._make_inputs = inputs
        self._place = place

    async def make(self, step: Cross, flight: Flight, build_log: BuildLog) -> Outcome:
        """Carry out `step`.

        Raises:
            StepFailed: it came to nothing.
            DaemonLost, DaemonRefused, ShimError: the serving nix-daemon failed us.
        """
        with self._keeper.using(step.plan.native_inputs):
            await self._bring(step, flight)
            step = await self._supplied(step)
            planted = await self._plant(step, flight, build_log)
        log.info(
            "planted",
            derivation=step.plan.native,
            outputs=dict(step.plan.outputs),
            seconds=round(planted.seconds, 2),
        )
        told = (
            f" (grade {planted.made},"
            f" differences {step.entry.difference_class.name.lower()},"
            f" {planted.verdict.summary()})"
        )
        named = await trio.to_thread.run_sync(self._tables.realisations, step.plan)
        result: BuildResult = replace(planted.result, built_outputs=named)
        return Outcome(result, told, planted.verdict, planted.made)

    async def _plant(self, step: Cross, flight: Flight, build_log: BuildLog) -> Planted:
        allowed = await self._allowed(step, flight)
        async with self._place(flight, build_log):
            try:
                return await self._planter.plant(
                    Job(
                        step,
                        flight.wanted.derivation.platform,
                        allowed,
                        self._tables.counterparts(allowed),
                        flight.policy,
                        flight.narrator,
                        build_log,
                        flight.does,
                    )
                )
            except (DaemonLost, DaemonRefused) as error:
                raise StepFailed(f"the {error.name} failed: {error}", Kind.DAEMON) from error
            except ShimError as error:
                raise StepFailed(str(error), Kind.DAEMON) from error

    async def _bring(self, step: Cross, flight: Flight) -> None:
        """See that the native inputs of the plant are in the serving store."""
        inputs = step.plan.native_inputs
        async with self._serving.connection() as serving:
            valid = await serving.ask(
                QueryValidPaths(inputs, substitute=True),
                listen=flight.narrator.renumber(),
                builds=True,
            )
        missing = inputs - valid
        if not missing:
            return
        makers = outputs_below(flight.wanted.derivation, flight.asker.graph)
        wanted: dict[StorePath, frozenset[str]] = {}
        for path in sorted(missing):
            if path not in makers:
                raise StepFailed(
                    f"native input `{path}` is neither in the store nor in a binary cache,"
                    " and the request brought no derivation that makes it",
                    Kind.INPUT,
                )
            drv, name = makers[path]
            wanted[drv] = wanted.get(drv, frozenset()) | {name}
        await self._make_inputs(flight, wanted)

    async def _supplied(self, step: Cross) -> Cross:
        """The step with the tools that its native libraries turn out to bring along.

        What they name is in their files, so it is known only now that they are valid.
        """
        brought = await self._planter.brought_along(step.plan)
        if not brought:
            return step
        plan = await trio.to_thread.run_sync(self._tables.plan, step.entry, brought)
        if isinstance(plan, Decline):
            raise StepFailed("; ".join(plan.reasons))
        return replace(step, plan=plan)

    async def _allowed(self, step: Cross, flight: Flight) -> frozenset[StorePath]:
        """The closure of the native derivation's inputs: all that its outputs may refer to.

        A board that asks a builder has brought them all, and could not register a result that
        refers to anything else.  Where the whole graph is asked for, native build tools are never
        made: what the plan needs natively counts instead.
        """
        inputs = direct_inputs(flight.wanted.derivation, flight.asker.graph)
        async with self._serving.connection() as serving:
            if inputs - await serving.ask(QueryValidPaths(frozenset(inputs), substitute=False)):
                inputs |= step.plan.native_inputs
            return await serving.closure(inputs)
