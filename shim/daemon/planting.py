"""Carrying out a plan: realise its inputs, build it without emulators, judge it, import it.

Everything before the import happens in the plant store, which no client can reach.  The import is
one `AddMultipleToStore` into the serving store: the commit point.  Whatever goes wrong before it
leaves nothing that anyone can fetch.
"""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog
import trio

from protocol.store import aterm
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derived_path import Built, DerivedPath, Opaque
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.worker.messages import (
    AddToStore,
    BuildDerivation,
    BuildMode,
    BuildPathsWithResults,
    CollectGarbage,
    NarFromPath,
    QueryPathInfo,
    QueryReferrers,
    QueryValidPaths,
)
from shim.config import Config, Domain, Policy
from shim.daemon.headers import difference
from shim.daemon.importing import Export, import_all
from shim.daemon.mending import Mended, lowered, repaired
from shim.daemon.narrator import BuildLog, Narrator
from shim.daemon.nixstore import Nix
from shim.daemon.propagated import brought_along
from shim.daemon.symbols import lacking
from shim.daemon.upstream import DaemonRefused, Listener, Upstream
from shim.equivalence.grades import Grade
from shim.gates import judge
from shim.gates.subject import Subject
from shim.gates.verdict import Verdict
from shim.keys import KeyRing, Made
from shim.plan.decision import Cross
from shim.plan.failures import Kind, StepFailed
from shim.plant.outcome import cause, forbidden, made
from shim.plant.plan import Plan
from shim.systems import Systems

log = structlog.get_logger()

SHOWN: Final = 10
"""Findings, worst first, that a client's log shows; all of them are in ours."""

RETRIES: Final = (0.05, 0.2, 1.0)
"""Seconds to wait before each new attempt to delete what a nix-daemon calls alive."""


@dataclass(frozen=True, slots=True)
class Planted:
    """What a successful plant came to."""

    result: BuildResult
    verdict: Verdict
    made: Made
    """The kind of key that signed it."""
    seconds: float


class Planter:
    """Plants derivations in one domain's plant store.  Holds no state."""

    def __init__(
        self, config: Config, domain: Domain, plant: Nix, systems: Systems, keys: KeyRing
    ) -> None:
        assert domain.plant is not None
        self._config = config
        self._root = domain.plant.root
        self._serving_root = domain.serving.root
        self._plant = plant
        self._systems = systems
        self._keys = keys

    async def brought_along(self, plan: Plan) -> dict[StorePath, str]:
        """Native tools that the plan's native libraries name, by their files in the serving store.

        Returns:
            What `Planner.plan` takes as `brought`.
        """
        return await trio.to_thread.run_sync(
            brought_along, self._serving_root, plan.libraries, self._config.store_dir
        )

    async def plant(
        self,
        step: Cross,
        platform: str,
        allowed: frozenset[StorePath],
        counterparts: Mapping[StorePath, StorePath],
        policy: Policy,
        serving: Nix,
        narrator: Narrator,
        build_log: BuildLog,
    ) -> Planted:
        """Carry out `step` up to the import.

        Args:
            step: what to plant.
            platform: Nix system of the native derivation.
            allowed: everything its outputs may refer to besides each other.
            counterparts: build tools' outputs -> the native ones that a repair may put there.
            policy: whether a repaired result will do.
            serving: the serving store's daemon, for the import.
            narrator: hears what is fetched and built beforehand.
            build_log: hears the planted build.

        Raises:
            StepFailed: with the reason.
            DaemonLost, DaemonRefused: a nix-daemon failed us.
        """
        plan = step.plan
        started = time.time()
        async with self._plant.connection() as tools:
            await self._realise(tools, plan, narrator, build_log)
            await self._check_toolchain(plan)
            await self._clear(tools, plan)
            async with self._plant.connection(use_substitutes=False) as plot:
                result = await self._build(plot, plan, build_log)
                visible = await plot.closure(plan.derivation.input_sources)
                subject = self._subject(plan, platform, allowed, visible, result)
                verdict = await trio.to_thread.run_sync(judge, subject, self._config.gates)
                await _tell(verdict, plan, build_log)
                made = Made.by_grade(step.entry.grade)
                if verdict.accepted:
                    await self._import(serving, await self._as_built(plot, plan, made))
            if not verdict.accepted and _may_repair(policy):
                async with repaired(subject, counterparts, self._config) as mended:
                    if mended is not None:
                        await _tell(mended.verdict, plan, build_log)
                    if mended is not None and mended.verdict.accepted:
                        verdict, made = mended.verdict, lowered(made)
                        exports = await self._as_mended(tools, plan, mended, made)
                        # Later plants must find what is imported, not what was built.
                        await self._clear(tools, plan)
                        await self._import(serving, exports)
            if not verdict.accepted:
                await self._clear(tools, plan)
                raise StepFailed(verdict.summary(), verdict=verdict)
        return Planted(
            replace(result, start_time=int(started), stop_time=int(time.time())),
            verdict,
            made,
            time.time() - started,
        )

    async def _import(self, serving: Nix, exports: "list[Export]") -> None:
        async with serving.connection() as upstream:
            await import_all(upstream, exports)

    async def _realise(
        self, tools: Upstream, plan: Plan, narrator: Narrator, build_log: BuildLog
    ) -> None:
        """Make everything valid that the planted recipe and its grafts name."""
        written = {graft.path for graft in plan.grafts}
        needed = {drv for graft in plan.grafts for drv in graft.derivation.input_derivations} | set(
            plan.prerequisites
        )
        sources = plan.sources - plan.texts.keys()
        wanted: list[DerivedPath] = [
            Opaque(path) for path in sorted(plan.native_inputs | sources | (needed - written))
        ]
        wanted += [Built(drv, outs) for drv, outs in sorted(plan.prerequisites.items())]
        await build_log.line(
            f"cross: {len(plan.native_inputs)} native inputs,"
            f" {len(plan.prerequisites)} tools, {len(plan.grafts)} grafts"
        )
        listen = narrator.renumber()
        await self._require(tools, wanted, "input", listen)
        for path, text in plan.texts.items():
            await self._write(tools, path, text.encode(), frozenset())
        for graft in plan.grafts:
            derivation = graft.derivation
            references = derivation.input_sources | set(derivation.input_derivations)
            await self._write(tools, graft.path, aterm.unparse(derivation), references)
        await self._require(
            tools,
            [Built(graft.path, graft.outputs) for graft in plan.grafts if graft.outputs],
            "graft",
            listen,
        )

    async def _require(
        self, tools: Upstream, wanted: list[DerivedPath], kind: str, listen: Listener
    ) -> None:
        if not wanted:
            return
        results = await tools.ask(
            BuildPathsWithResults(tuple(wanted), BuildMode.NORMAL), listen=listen, builds=True
        )
        for path, result in results:
            if not result.is_success:
                raise StepFailed(
                    f"{kind} `{path.render()}` cannot be had in the plant store:"
                    f" {result.error_message or result.status.name}",
                    Kind.INPUT,
                )

    async def _write(
        self, tools: Upstream, path: StorePath, text: bytes, references: frozenset[StorePath]
    ) -> None:
        """Add a plain file to the plant store, and see that it came to lie where planned."""
        info = await tools.ask(AddToStore.text(path.name, references=references), body=_once(text))
        if info.path != path:
            raise StepFailed(f"the text `{path}` came to lie at `{info.path}`: our mistake")

    async def _check_toolchain(self, plan: Plan) -> None:
        """What planning could not know: it lies in the files of the two toolchains."""
        checks = [(difference, *pair) for pair in plan.headers]
        checks += [(lacking, *pair) for pair in plan.runtime]
        for check, native, cross in checks:
            found = await trio.to_thread.run_sync(
                check, _physical(self._root, native), _physical(self._root, cross)
            )
            if found is not None:
                raise StepFailed(
                    f"native and cross toolchain are no admissible pair: {found}", Kind.TOOLCHAIN
                )

    async def _clear(self, tools: Upstream, plan: Plan) -> None:
        """Delete what an earlier attempt left at the planned paths, and whatever refers to it.

        A path cannot be deleted while the nix-daemon's process that built it lives, which ends a
        moment after its connection.
        """
        paths = frozenset(plan.outputs.values()) | frozenset(plan.dropped.values())
        left = await tools.ask(QueryValidPaths(paths, substitute=False))
        if not left:
            return
        doomed, fringe = set(left), set(left)
        while fringe:
            found = {r for path in fringe for r in await tools.ask(QueryReferrers(path))}
            fringe = found - doomed
            doomed |= found
        for pause in RETRIES:
            try:
                await tools.ask(CollectGarbage.delete(frozenset(doomed)))
            except DaemonRefused:
                await trio.sleep(pause)
            else:
                return
        await tools.ask(CollectGarbage.delete(frozenset(doomed)))

    async def _build(self, plot: Upstream, plan: Plan, build_log: BuildLog) -> BuildResult:
        if left := await plot.ask(
            QueryValidPaths(frozenset(plan.outputs.values()), substitute=False)
        ):
            raise StepFailed(
                f"`{min(left)}` is in the plant store already and cannot be deleted", Kind.DAEMON
            )
        result = await plot.ask(
            BuildDerivation(plan.drv_path, plan.derivation, BuildMode.NORMAL),
            listen=build_log.listen,
            builds=True,
        )
        if result.status is not BuildStatus.BUILT:
            raise StepFailed(f"the cross build failed: {cause(plan, result)}", result=result)
        return result

    def _subject(
        self,
        plan: Plan,
        platform: str,
        allowed: frozenset[StorePath],
        visible: frozenset[StorePath],
        result: BuildResult,
    ) -> Subject:
        return Subject(
            name=plan.native.name.removesuffix(".drv"),
            system=self._systems[platform],
            outputs=plan.outputs,
            root=self._root,
            store_dir=self._config.store_dir,
            allowed=allowed | frozenset(plan.outputs.values()),
            forbidden=forbidden(plan, allowed, visible),
            visible=visible,
            built=made(plan, result),
            closure_roots=(self._serving_root,),
        )

    async def _as_built(self, plot: Upstream, plan: Plan, made: Made) -> "list[Export]":
        """The outputs as they lie in the plant store."""
        exports = []
        for path in plan.outputs.values():
            info = await self._info(plot, path)
            exports.append(
                Export(path, self._signed(path, info, plan, made), plot.stream(NarFromPath(path)))
            )
        return exports

    async def _as_mended(
        self, plot: Upstream, plan: Plan, mended: Mended, made: Made
    ) -> "list[Export]":
        """The outputs as a repair left them."""
        exports = []
        for path in plan.outputs.values():
            info = await mended.info(path, await self._info(plot, path))
            exports.append(Export(path, self._signed(path, info, plan, made), mended.nar(path)))
        return exports

    async def _info(self, plot: Upstream, path: StorePath) -> PathInfo:
        info = await plot.ask(QueryPathInfo(path))
        assert info is not None
        return info

    def _signed(self, path: StorePath, info: PathInfo, plan: Plan, made: Made) -> PathInfo:
        info = replace(
            info, deriver=plan.native, ultimate=False, signatures=frozenset(), registration_time=0
        )
        return self._keys.sign(path, info, made)


def _may_repair(policy: Policy) -> bool:
    """Whether policy takes what is known less of than of a plant that every gate passed."""
    return policy.least_grade <= Grade.CHECKED


async def _tell(verdict: Verdict, plan: Plan, build_log: BuildLog) -> None:
    await build_log.line(verdict.summary())
    log.info(
        "gates-judged",
        derivation=plan.native,
        accepted=verdict.accepted,
        files=verdict.files,
        examined=verdict.examined,
        seconds=round(verdict.seconds, 3),
    )
    for finding in verdict.findings[:SHOWN]:
        await build_log.line(f"gate: {finding}")
    for finding in verdict.findings:
        log.info("gate-finding", derivation=plan.native.name, **finding.as_json())


def _physical(root: Path, path: StorePath) -> Path:
    return root / path.lstrip("/")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
