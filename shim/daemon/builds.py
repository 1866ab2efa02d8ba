"""Judged builds: gather the facts about a wanted derivation, decide, carry the decision out.

Shared by all sessions.  One derivation is made once at a time; whoever asks for it meanwhile waits
and then finds it valid.
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
import trio

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derivation import BasicDerivation, Derivation, InputAddressed, Recipe
from protocol.store.derived_path import Built, Opaque
from protocol.store.path import StorePath
from protocol.worker.messages import (
    BuildDerivation,
    BuildMode,
    BuildPathsWithResults,
    QuerySubstitutablePaths,
    QueryValidPaths,
)
from shim import __version__
from shim.config import Config
from shim.daemon.narrator import BuildLog, Narrator
from shim.daemon.planting import Planter, PlantFailed
from shim.daemon.scans import Scans
from shim.daemon.state import BuildRecord, State
from shim.daemon.tables import UNKNOWN, Tables
from shim.daemon.upstream import DaemonLost, DaemonRefused, Upstream
from shim.equivalence.source import Derivations
from shim.errors import ShimError
from shim.gates.verdict import Verdict
from shim.plan.decision import Cross, Decision, Plain, Step, Strategy
from shim.plan.graph import direct_inputs, outputs_below
from shim.plan.planner import Facts, decide

log = structlog.get_logger()

_SUMMARY: Final = {
    Strategy.VALID: "already in the store",
    Strategy.SUBSTITUTE: "fetched from a binary cache",
    Strategy.FIXED_OUTPUT: "made as its hash demands",
    Strategy.CROSS: "cross-compiled at its native path",
    Strategy.EMULATE: "built under emulation",
}


_NEED_NO_TABLE: Final = (Strategy.VALID, Strategy.FIXED_OUTPUT)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One foreign derivation that a client asks for."""

    path: StorePath
    derivation: Recipe
    outputs: Mapping[str, StorePath]
    """The outputs wanted, by name."""

    @property
    def name(self) -> str:
        """The derivation's name."""
        return self.path.name.removesuffix(".drv")

    @property
    def is_flat(self) -> bool:
        """Whether it came without its graph (`BuildDerivation`)."""
        return isinstance(self.derivation, BasicDerivation)


@dataclass(slots=True)
class Context:
    """The session on whose behalf builds are made."""

    peer: str
    serving: Upstream
    narrator: Narrator
    graph: Derivations
    """The derivations of the serving store, for requests that come with their graph."""
    tried: dict[StorePath, BuildResult] = field(default_factory=dict)
    """What has been answered within this request, so that no input is tried twice."""


class StepFailed(Exception):
    """A strategy did not lead to the outputs; the next one is tried."""

    def __init__(self, reason: str, *, lasting: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting
        self.verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of a step that was carried out, besides Nix's result."""

    told: str = ""
    """For the client, behind how long it took."""
    verdict: Verdict | None = None
    grade: str = ""
    """Kind of the key that signed the outputs."""


class Builds:
    """See the module."""

    def __init__(
        self,
        config: Config,
        tables: Tables,
        planter: Planter,
        state: State,
        scans: Scans,
        lacks: Mapping[str, str | None],
    ) -> None:
        self._config = config
        self._tables = tables
        self._planter = planter
        self._state = state
        self._scans = scans
        self._lacks = lacks
        self._slots = trio.CapacityLimiter(config.limits.builds)
        self._flights: dict[StorePath, trio.Lock] = {}

    def judges(self, derivation: Recipe) -> bool:
        """Whether builds of `derivation` are ours to decide: a foreign system, known outputs."""
        return derivation.platform in self._config.systems and all(
            isinstance(output, InputAddressed) for output in derivation.outputs.values()
        )

    async def make(self, wanted: Wanted, context: Context) -> BuildResult:
        """Bring the wanted outputs into the serving store, by whichever strategy does it.

        Returns:
            Nix's own result; failures carry every reason, one line each.
        """
        if wanted.path in context.tried:
            return context.tried[wanted.path]
        async with self._single_flight(wanted.path):
            started = time.time()
            try:
                result = await self._make(wanted, context)
            except DaemonRefused as refused:
                result = _failure(f"the nix-daemon refused: {refused}", started)
        context.tried[wanted.path] = result
        return result

    @asynccontextmanager
    async def _single_flight(self, path: StorePath) -> AsyncIterator[None]:
        lock = self._flights.setdefault(path, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._flights.pop(path, None)

    async def _make(self, wanted: Wanted, context: Context) -> BuildResult:
        started = time.time()
        decision = await self.decide(wanted, context)
        if decision.steps and decision.steps[0].strategy is Strategy.VALID:
            return BuildResult(status=BuildStatus.ALREADY_VALID)
        log.info(
            "build-started", derivation=wanted.path, peer=context.peer, decision=decision.lines()
        )
        failures = [f"{each.strategy}: {each.reason}" for each in decision.skipped]
        async with context.narrator.building(
            wanted.path, f"building '{wanted.path}' through nix-shim"
        ) as build_log:
            for line in decision.lines():
                await build_log.line(line)
            for step in decision.steps:
                begun = time.time()
                try:
                    result, facts = await self._carry_out(step, wanted, context, build_log)
                except (StepFailed, PlantFailed) as failed:
                    await self._failed(step, wanted, context, build_log, failed, begun)
                    failures.append(f"{step.strategy}: {failed.reason}")
                    continue
                await self._ended(step, wanted, context, result, facts, begun)
                return result
        return _failure(
            f"`{wanted.name}` for {wanted.derivation.platform} cannot be made here:\n  "
            + "\n  ".join(failures),
            started,
        )

    async def _failed(
        self,
        step: Step,
        wanted: Wanted,
        context: Context,
        build_log: BuildLog,
        failed: StepFailed | PlantFailed,
        begun: float,
    ) -> None:
        await build_log.line(f"{step.strategy} failed: {failed.reason}")
        await context.narrator.say(f"{wanted.name}: {step.strategy} failed: {failed.reason}")
        facts = Outcome(verdict=failed.verdict)
        self._record(step, wanted, context, failed.reason, facts, begun)
        if isinstance(step, Cross) and failed.lasting:
            self._state.remember_failure(step.plan.native, self._knowledge(), failed.reason)

    async def _ended(
        self,
        step: Step,
        wanted: Wanted,
        context: Context,
        result: BuildResult,
        facts: Outcome,
        begun: float,
    ) -> None:
        outcome = "ok" if result.is_success else (result.error_message or result.status.name)
        self._record(step, wanted, context, outcome, facts, begun)
        seconds = time.time() - begun
        if result.is_success:
            told = f"{_SUMMARY[step.strategy]} in {seconds:.1f} s{facts.told}"
        else:
            told = f"{step.strategy} failed after {seconds:.1f} s: {outcome}"
        await context.narrator.say(f"{wanted.name}: {told}")
        log.info(
            "build-ended",
            derivation=wanted.path,
            peer=context.peer,
            strategy=step.strategy.value,
            outcome=outcome,
            seconds=round(seconds, 2),
        )

    def _record(
        self,
        step: Step,
        wanted: Wanted,
        context: Context,
        outcome: str,
        facts: Outcome,
        begun: float,
    ) -> None:
        verdict = facts.verdict
        self._state.record(
            BuildRecord(
                wanted.path,
                context.peer,
                step.strategy,
                outcome,
                begun,
                time.time() - begun,
                tuple(each.as_json() for each in verdict.findings) if verdict else (),
                verdict.summary() if verdict else "",
                facts.grade,
                tuple(wanted.derivation.output_paths().values()),
            )
        )

    def _knowledge(self) -> str:
        return f"{__version__}/{self._tables.version}"

    async def decide(self, wanted: Wanted, context: Context) -> Decision:
        """What would be done for `wanted` now, with reasons."""
        paths = frozenset(wanted.outputs.values())
        every = frozenset(wanted.derivation.output_paths().values())
        valid = await context.serving.ask(QueryValidPaths(every, substitute=False))
        missing = paths - valid
        offered = (
            await context.serving.ask(QuerySubstitutablePaths(missing)) if missing else frozenset()
        )
        entry, no_entry = self._tables.entry(wanted.path, wanted.derivation)
        failed = None if entry is None else self._state.failure(entry.native, self._knowledge())
        facts = Facts(
            path=wanted.path,
            derivation=wanted.derivation,
            wanted=wanted.outputs,
            valid=valid,
            substitutable=offered,
            entry=entry,
            no_entry=no_entry,
            failed_before=failed,
            emulator=self._lacks.get(wanted.derivation.platform),
        )
        decision = await trio.to_thread.run_sync(
            decide, facts, self._config.policy, self._tables.plan
        )
        if all(step.strategy not in _NEED_NO_TABLE for step in decision.steps):
            self._state.record_lookup(wanted.path, context.peer, no_entry)
            if no_entry == UNKNOWN:
                self._scans.unknown(context.peer)
        return decision

    async def _carry_out(
        self, step: Step, wanted: Wanted, context: Context, build_log: BuildLog
    ) -> tuple[BuildResult, Outcome]:
        """Try one step."""
        match step:
            case Cross():
                return await self._cross(step, wanted, context, build_log)
            case Plain(Strategy.SUBSTITUTE):
                return await self._substitute(wanted, context), Outcome()
            case Plain():
                return await self._native(wanted, context, build_log), Outcome()

    async def _substitute(self, wanted: Wanted, context: Context) -> BuildResult:
        paths = tuple(Opaque(path) for path in sorted(wanted.outputs.values()))
        results = await context.serving.ask(
            BuildPathsWithResults(paths, BuildMode.NORMAL),
            listen=context.narrator.renumber(),
            builds=True,
        )
        for path, result in results:
            if not result.is_success:
                raise StepFailed(
                    f"`{path.render()}`: {result.error_message or result.status.name}",
                    lasting=False,
                )
        return BuildResult(status=BuildStatus.SUBSTITUTED)

    async def _native(self, wanted: Wanted, context: Context, build_log: BuildLog) -> BuildResult:
        """Hand the untouched derivation to the serving store's daemon."""
        await self._make_inputs(wanted, context)
        async with self._slot(build_log):
            listen = context.narrator.renumber()
            if isinstance(wanted.derivation, BasicDerivation):
                return await context.serving.ask(
                    BuildDerivation(wanted.path, wanted.derivation, BuildMode.NORMAL),
                    listen=listen,
                    builds=True,
                )
            results = await context.serving.ask(
                BuildPathsWithResults(
                    (Built(wanted.path, frozenset(wanted.outputs)),), BuildMode.NORMAL
                ),
                listen=listen,
                builds=True,
            )
        return results[0][1]

    @asynccontextmanager
    async def _slot(self, build_log: BuildLog) -> AsyncIterator[None]:
        if self._slots.available_tokens < 1:
            await build_log.line(
                f"waiting: {self._config.limits.builds} foreign builds are running"
                f" (limits.builds), {self._slots.statistics().tasks_waiting} wait before this one"
            )
        async with self._slots:
            yield

    async def _make_inputs(self, wanted: Wanted, context: Context) -> None:
        """Judge the foreign inputs of a derivation that came with its graph, deepest first."""
        if not isinstance(wanted.derivation, Derivation):
            return
        for drv, chosen in wanted.derivation.input_derivations.items():
            await self._make_input(drv, chosen.outputs, context)

    async def _make_input(self, drv: StorePath, names: frozenset[str], context: Context) -> None:
        derivation = context.graph[drv]
        if not self.judges(derivation):
            return  # the daemon builds it on the way
        paths = derivation.output_paths()
        result = await self.make(
            Wanted(drv, derivation, {name: paths[name] for name in names}), context
        )
        if not result.is_success:
            raise StepFailed(f"its input `{drv.name}`: {result.error_message}", lasting=False)

    async def _cross(
        self, step: Cross, wanted: Wanted, context: Context, build_log: BuildLog
    ) -> tuple[BuildResult, Outcome]:
        await self._bring(step, wanted, context)
        allowed = await self._allowed(step, wanted, context)
        async with self._slot(build_log):
            try:
                planted = await self._planter.plant(
                    step,
                    wanted.derivation.platform,
                    allowed,
                    self._tables.counterparts(allowed),
                    context.serving,
                    context.narrator,
                    build_log,
                )
            except (DaemonLost, DaemonRefused) as error:
                if error.name == context.serving.name:
                    raise
                raise StepFailed(f"the {error.name} failed: {error}", lasting=False) from error
            except ShimError as error:
                raise StepFailed(str(error), lasting=False) from error
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
        return replace(planted.result, built_outputs=named), Outcome(
            told, planted.verdict, planted.made
        )

    async def _bring(self, step: Cross, wanted: Wanted, context: Context) -> None:
        """See that the native inputs of a plant are in the serving store."""
        inputs = step.plan.native_inputs
        valid = await context.serving.ask(QueryValidPaths(inputs, substitute=True))
        missing = inputs - valid
        if not missing:
            return
        makers = outputs_below(wanted.derivation, context.graph)
        for path in sorted(missing):
            if path not in makers:
                raise StepFailed(
                    f"native input `{path}` is neither in the store nor in a binary cache,"
                    " and the request brought no derivation that makes it",
                    lasting=False,
                )
            drv, name = makers[path]
            await self._make_input(drv, frozenset({name}), context)

    async def _allowed(self, step: Cross, wanted: Wanted, context: Context) -> frozenset[StorePath]:
        """The closure of the native derivation's inputs: all that its outputs may refer to."""
        inputs = direct_inputs(wanted.derivation, context.graph) | step.plan.native_inputs
        return await context.serving.closure(inputs)


def _failure(message: str, started: float) -> BuildResult:
    return BuildResult(
        status=BuildStatus.MISC_FAILURE,
        error_message=message,
        start_time=int(started),
        stop_time=int(time.time()),
    )
