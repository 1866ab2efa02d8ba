"""Carrying out a plan: realise its inputs, build it without emulators, judge it, import it.

Everything before the import happens in the plant store, which no client can reach.  The import is
one `AddMultipleToStore` into the serving store: the commit point.  Whatever goes wrong before it
leaves nothing that anyone can fetch.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
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
    NarFromPath,
    QueryPathInfo,
    QueryValidPaths,
)
from shim.config import Config, Domain, Policy
from shim.daemon.building.keeping import Keeper
from shim.daemon.building.narrator import BuildLog, Narrator
from shim.daemon.nix.nixstore import Nix
from shim.daemon.nix.removing import remove
from shim.daemon.nix.upstream import Listener, Upstream
from shim.daemon.plants.headers import difference
from shim.daemon.plants.importing import Export, import_all
from shim.daemon.plants.imports import Imports
from shim.daemon.plants.mending import Mended, lowered, repaired
from shim.daemon.plants.propagated import brought_along
from shim.daemon.plants.symbols import lacking
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


@dataclass(frozen=True, slots=True)
class Planted:
    """What a successful plant came to."""

    result: BuildResult
    verdict: Verdict
    made: Made
    """The kind of key that signed it."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """A plant to be made."""

    step: Cross
    platform: str
    """Nix system of the native derivation."""
    allowed: frozenset[StorePath]
    """Everything its outputs may refer to besides each other."""
    counterparts: Mapping[StorePath, StorePath]
    """Build tools' outputs -> the native ones that a repair may put there."""
    policy: Policy
    """Whether a repaired result will do."""
    narrator: Narrator
    """Hears what is fetched and built beforehand."""
    build_log: BuildLog
    """Hears the planted build."""
    does: Callable[[str], None]
    """Hears, in a participle, what is being done."""


class Planter:
    """Plants derivations in one domain's plant store.  Holds no state."""

    def __init__(
        self,
        config: Config,
        domain: Domain,
        plant: Nix,
        imports: Imports,
        keeper: Keeper,
        systems: Systems,
        keys: KeyRing,
    ) -> None:
        """See the class.

        Args:
            config: the whole configuration.
            domain: the stores.
            plant: nix-daemon of the domain's plant store.
            imports: into its serving store.
            keeper: of its plant store.
            systems: what is known of the target systems.
            keys: sign what is imported.
        """
        assert domain.plant is not None
        self._config = config
        self._root = domain.plant.root
        self._serving_root = domain.serving.root
        self._plant = plant
        self._imports = imports
        self._keeper = keeper
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

    async def plant(self, job: Job) -> Planted:
        """Carry out a plant up to the import.

        Raises:
            StepFailed: with the reason.
            DaemonLost, DaemonRefused, ShimError: a nix-daemon failed us.
        """
        plan, build_log = job.step.plan, job.build_log
        started = time.time()
        async with self._plant.connection() as tools:
            job.does("fetching and building tools")
            await self._realise(tools, plan, job.narrator, build_log)
            self._keeper.deliver(plan.derivation.input_sources)
            await self._check_toolchain(plan)
            await self._clear(tools, plan)
            async with self._plant.connection(use_substitutes=False) as plot:
                job.does("cross-building")
                result = await self._build(plot, plan, build_log)
                job.does("looking through the result")
                visible = await plot.closure(plan.derivation.input_sources)
                subject = self._subject(plan, job.platform, job.allowed, visible, result)
                verdict = await trio.to_thread.run_sync(judge, subject, self._config.gates)
                await _tell(verdict, plan, build_log)
                made = Made.by_grade(job.step.entry.grade)
                if verdict.accepted:
                    job.does("importing")
                    await self._import(await self._as_built(plot, plan, made))
            if not verdict.accepted and _may_repair(job.policy):
                job.does("repairing")
                async with repaired(subject, job.counterparts, self._config) as mended:
                    if mended is not None:
                        await _tell(mended.verdict, plan, build_log)
                    if mended is not None and mended.verdict.accepted:
                        verdict, made = mended.verdict, lowered(made)
                        exports = await self._as_mended(tools, plan, mended, made)
                        # Later plants must find what is imported, not what was built.
                        await self._clear(tools, plan)
                        await self._import(exports)
            if not verdict.accepted:
                await self._clear(tools, plan)
                raise StepFailed(verdict.summary(), verdict=verdict)
        return Planted(
            replace(result, start_time=int(started), stop_time=int(time.time())),
            verdict,
            made,
            time.time() - started,
        )

    async def _import(self, exports: "list[Export]") -> None:
        async with self._imports.under_way(each.path for each in exports) as serving:
            await import_all(serving, exports)

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
        """Delete what an earlier attempt left at the planned paths, and whatever refers to it."""
        paths = frozenset(plan.outputs.values()) | frozenset(plan.dropped.values())
        self._keeper.forget(paths)
        await remove(tools, paths)

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
