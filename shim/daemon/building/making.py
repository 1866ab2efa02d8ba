"""Carrying out decisions: one strategy after the other, each attempt told and remembered."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derivation import BasicDerivation, Derivation
from protocol.store.derived_path import Built, Opaque
from protocol.worker.messages import BuildDerivation, BuildMode, BuildPathsWithResults
from shim.config import Domain
from shim.daemon.building.deciding import Decider
from shim.daemon.building.flight import Flight
from shim.daemon.building.keeping import Keeper
from shim.daemon.building.narrator import BuildLog
from shim.daemon.building.outcomes import Outcome
from shim.daemon.building.scheduling import Scheduler
from shim.daemon.clients.provenance import Provenances
from shim.daemon.nix.nixstore import Nix
from shim.daemon.nix.upstream import Listener, Upstream
from shim.daemon.plants.crossing import Crossing, MakeInputs
from shim.daemon.plants.planting import Planter
from shim.daemon.plants.signing import sign_built
from shim.daemon.state import BuildRecord, State
from shim.daemon.tables import Tables
from shim.gates.verdict import Verdict
from shim.keys import KeyRing, Made
from shim.plan.decision import Counterpart, Cross, Decision, Plain, Step, Strategy
from shim.plan.failures import Failure, Kind, Lasting, StepFailed, classify, status
from shim.plan.graph import direct_inputs

log = structlog.get_logger()

_SUMMARY: Final = {
    Strategy.VALID: "already in the store",
    Strategy.SUBSTITUTE: "fetched from a binary cache",
    Strategy.FIXED_OUTPUT: "made as its hash demands",
    Strategy.CROSS: "cross-compiled at its native path",
    Strategy.EMULATE: "built under emulation",
}

_DOING: Final = {
    Strategy.VALID: "looking",
    Strategy.SUBSTITUTE: "fetching from a binary cache",
    Strategy.FIXED_OUTPUT: "making what its hash demands",
    Strategy.CROSS: "preparing a cross build",
    Strategy.EMULATE: "building under emulation",
}


@dataclass(frozen=True, slots=True)
class Means:
    """What builds of one domain are made with."""

    domain: Domain
    serving: Nix
    keys: KeyRing
    """Sign what the serving store's nix-daemon builds."""
    planter: Planter | None
    """None where the domain has no plant store: nothing is planted there then."""
    tables: Tables
    state: State
    decider: Decider
    scheduler: Scheduler
    keeper: Keeper
    """Of the serving store."""
    recipes: tuple[str, ...]
    """URIs of the stores that the tables' derivations are in, besides the serving store."""


class Maker:
    """See the module."""

    def __init__(self, means: Means, inputs: MakeInputs) -> None:
        self._domain = means.domain
        self._serving = means.serving
        self._keys = means.keys
        self._state = means.state
        self._decider = means.decider
        self._provenances = Provenances(means.state, means.tables)
        self._make_inputs = inputs
        self._scheduler = means.scheduler
        self._keeper = means.keeper
        self._recipes = means.recipes
        self._crossing = (
            Crossing(means.serving, means.planter, means.tables, means.keeper, inputs, self._place)
            if means.planter is not None
            else None
        )

    async def make(self, flight: Flight) -> BuildResult:
        """Bring the wanted outputs into the serving store, by whichever strategy does it.

        Returns:
            Nix's own result; failures carry every reason, one line each.

        Raises:
            DaemonLost, DaemonRefused, ShimError: the serving nix-daemon failed us.
        """
        wanted, started = flight.wanted, time.time()
        decision = await self._decider.decide(wanted, flight.policy, flight.asker.graph)
        self._decider.note(wanted, decision, flight.peer)
        if decision.steps and decision.steps[0].strategy is Strategy.VALID:
            if why := self._provenances.refusal(wanted, flight.policy):
                await flight.narrator.say(why)
                return BuildResult(status=BuildStatus.OUTPUT_REJECTED, error_message=why)
            self._keeper.deliver(wanted.outputs.values())
            return BuildResult(status=BuildStatus.ALREADY_VALID)
        outputs = frozenset(wanted.derivation.output_paths().values())
        inputs = direct_inputs(wanted.derivation, flight.asker.graph)
        with self._keeper.using(outputs | inputs | {wanted.path}):
            result = await self._by_any(decision, flight, started)
            if result.is_success:
                self._keeper.deliver(outputs)
        return result

    async def _by_any(self, decision: Decision, flight: Flight, started: float) -> BuildResult:
        """Try the steps of a decision, one after the other."""
        wanted = flight.wanted
        log.info(
            "build-started",
            derivation=wanted.path,
            peer=flight.peer,
            system=wanted.derivation.platform,
            decision=decision.lines(),
        )
        reasons = [f"{each.strategy}: {each.reason}" for each in decision.skipped]
        last = StepFailed("no strategy can make it here", Kind.HOST)
        failure = Failure(Kind.HOST, last.reason)
        async with flight.narrator.building(
            wanted.path, f"building '{wanted.path}' through nix-shim"
        ) as build_log:
            flight.build_log = build_log
            for line in decision.lines():
                await build_log.line(line)
            for step in decision.steps:
                begun = time.time()
                build_log.begin()
                flight.strategy = step.strategy
                try:
                    outcome = await self._carry_out(step, flight, build_log)
                except StepFailed as failed:
                    last, failure = (
                        failed,
                        classify(
                            failed,
                            tuple(build_log.said),
                            build_log.phase,
                            fixed=wanted.derivation.is_fixed,
                        ),
                    )
                    await self._failed(step, flight, build_log, failed, failure, begun)
                    reasons.append(f"{step.strategy}: {failure}")
                    continue
                await self._ended(step, flight, outcome, begun)
                return outcome.result
        message = "\n  ".join(
            [f"`{wanted.name}` for {wanted.derivation.platform} cannot be made here:", *reasons]
        )
        if not decision.steps:
            await flight.narrator.say(message)
        return replace(
            last.result or BuildResult(status=BuildStatus.MISC_FAILURE),
            status=status(last, failure),
            error_message=message,
            start_time=int(started),
            stop_time=int(time.time()),
        )

    async def _carry_out(self, step: Step, flight: Flight, build_log: BuildLog) -> Outcome:
        match step:
            case Cross():
                if self._crossing is None:
                    raise StepFailed("this domain has no plant store", Kind.HOST)
                return await self._crossing.make(step, flight, build_log)
            case Counterpart():
                return await self._counterpart(step, flight, build_log)
            case Plain(Strategy.SUBSTITUTE):
                return await self._substitute(flight, build_log)
            case Plain():
                return await self._native(flight, build_log)

    async def _failed(
        self,
        step: Step,
        flight: Flight,
        build_log: BuildLog,
        failed: StepFailed,
        failure: Failure,
        begun: float,
    ) -> None:
        wanted = flight.wanted
        await build_log.line(f"{step.strategy} failed: {failure}; advice: {failure.advice}")
        await flight.narrator.say(f"{wanted.name}: {step.strategy} failed: {failure}")
        self._record(step, flight, str(failure), begun, verdict=failed.verdict)
        if isinstance(step, Cross) and failure.lasting is Lasting.PERMANENT:
            self._state.remember_failure(step.plan.native, self._decider.knowledge(), str(failure))
        log.info(
            "build-failed",
            derivation=wanted.path,
            peer=flight.peer,
            system=wanted.derivation.platform,
            strategy=step.strategy.value,
            kind=failure.kind.value,
            reason=failed.reason,
        )

    async def _ended(self, step: Step, flight: Flight, outcome: Outcome, begun: float) -> None:
        self._record(step, flight, "ok", begun, verdict=outcome.verdict, grade=outcome.grade)
        seconds = time.time() - begun
        await flight.narrator.say(
            f"{flight.wanted.name}: {_SUMMARY[step.strategy]} in {seconds:.1f} s{outcome.told}"
        )
        log.info(
            "build-ended",
            derivation=flight.wanted.path,
            peer=flight.peer,
            system=flight.wanted.derivation.platform,
            strategy=step.strategy.value,
            outcome="ok",
            seconds=round(seconds, 2),
        )

    def _record(
        self,
        step: Step,
        flight: Flight,
        outcome: str,
        begun: float,
        *,
        verdict: Verdict | None,
        grade: str = "",
    ) -> None:
        self._state.record(
            BuildRecord(
                flight.wanted.path,
                flight.peer,
                step.strategy,
                outcome,
                begun,
                time.time() - begun,
                tuple(each.as_json() for each in verdict.findings) if verdict else (),
                verdict.summary() if verdict else "",
                grade,
                tuple(flight.wanted.derivation.output_paths().values()),
            )
        )

    async def _substitute(self, flight: Flight, build_log: BuildLog) -> Outcome:
        paths = tuple(Opaque(path) for path in sorted(flight.wanted.outputs.values()))
        async with self._place(flight, build_log), self._serving.connection() as serving:
            results = await serving.ask(
                BuildPathsWithResults(paths, BuildMode.NORMAL),
                listen=build_log.overhear(flight.narrator.renumber()),
                builds=True,
            )
        for path, result in results:
            if not result.is_success:
                raise StepFailed(
                    f"`{path.render()}`: {result.error_message or result.status.name}", Kind.INPUT
                )
        return Outcome(BuildResult(status=BuildStatus.SUBSTITUTED))

    async def _native(self, flight: Flight, build_log: BuildLog) -> Outcome:
        """Hand the untouched derivation to the serving store's daemon."""
        wanted = flight.wanted
        if isinstance(wanted.derivation, Derivation):
            chosen = wanted.derivation.input_derivations
            await self._make_inputs(flight, {drv: each.outputs for drv, each in chosen.items()})
        async with self._place(flight, build_log), self._serving.connection() as serving:
            listen = build_log.overhear(flight.narrator.renumber())
            if isinstance(wanted.derivation, BasicDerivation):
                result = await serving.ask(
                    BuildDerivation(wanted.path, wanted.derivation, BuildMode.NORMAL),
                    listen=listen,
                    builds=True,
                )
                if not result.is_success:
                    raise StepFailed(result.error_message or result.status.name, result=result)
            else:
                built = Built(wanted.path, frozenset(wanted.outputs))
                result = await _realise(serving, built, listen)
            if result.status is not BuildStatus.BUILT or _needs_no_signature(flight):
                return Outcome(result)
            paths = wanted.derivation.output_paths().values()
            signed = await sign_built(serving, self._keys, paths, Made.EMULATED)
        return Outcome(result, grade=Made.EMULATED if signed else "")

    async def _counterpart(self, step: Counterpart, flight: Flight, build_log: BuildLog) -> Outcome:
        """Have the serving store's daemon realise another derivation of the same fixed output.

        Of a table's it fetches the recipe, and what that needs, from where those derivations are.
        """
        beside = self._recipes if step.tabled else ()
        async with (
            self._place(flight, build_log),
            self._serving.connection(beside=beside) as serving,
        ):
            listen = build_log.overhear(flight.narrator.renumber())
            result = await _realise(serving, Built(step.derivation, step.outputs), listen)
        return Outcome(result, f" (by its counterpart `{step.derivation.base}`)")

    @asynccontextmanager
    async def _place(self, flight: Flight, build_log: BuildLog) -> AsyncIterator[None]:
        """A place to build in; whoever waits for one waits for nothing else and holds nothing."""
        assert flight.strategy is not None
        roots = [self._domain.serving.root]
        if flight.strategy is Strategy.CROSS and self._domain.plant is not None:
            roots.append(self._domain.plant.root)
        waiting = self._scheduler.enter(
            lambda: flight.peers or frozenset({flight.peer}),
            flight.wanted.derivation.platform,
            flight.strategy,
            roots,
        )
        with self._scheduler.place(waiting):
            if not waiting.turn.is_set():
                flight.does(lambda: f"waiting: {self._scheduler.why(waiting)}")
                await build_log.line(f"waiting: {self._scheduler.why(waiting)}")
                await waiting.turn.wait()
            if waiting.refused:
                raise StepFailed(f"there is no room: {waiting.refused}", Kind.DISK)
            flight.does(_DOING[flight.strategy])
            yield


def _needs_no_signature(flight: Flight) -> bool:
    """Whether what was made proves itself, or is what any machine would have made."""
    return flight.strategy is not Strategy.EMULATE or flight.wanted.derivation.is_fixed


async def _realise(serving: Upstream, built: Built, listen: Listener) -> BuildResult:
    results = await serving.ask(
        BuildPathsWithResults((built,), BuildMode.NORMAL), listen=listen, builds=True
    )
    if not results:  # since 2.33.2 for what was never begun
        raise StepFailed("an input could not be built", Kind.INPUT)
    result = results[0][1]
    if not result.is_success:
        raise StepFailed(result.error_message or result.status.name, result=result)
    return result
