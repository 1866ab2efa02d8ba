"""What one session asks to have built: which of it is ours, and what becomes of it.

Foreign derivations go to the planner (`shim.daemon.building.builds`), whatever else a request names
to the nix-daemon, all at once.  As in Nix, the first failure ends the whole request unless the
client set `keep-going`.  What a request must not claim is asked of `evidence`, beside this.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import trio

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derivation import Derivation
from protocol.store.derived_path import ALL_OUTPUTS, Built, DerivedPath
from protocol.store.path import StorePath
from protocol.worker.messages import (
    BuildDerivation,
    BuildMode,
    BuildPathsWithResults,
    QueryMissing,
    QueryValidDerivers,
)
from protocol.worker.results import Missing
from protocol.worker.stderr import LogMessage
from shim.config import Policy
from shim.daemon.building.flight import Asker, Wanted
from shim.daemon.building.flightlog import Audience, Send
from shim.daemon.building.narrator import Narrator
from shim.daemon.clients.client import ClientGone
from shim.daemon.clients.evidence import Evidence
from shim.daemon.clients.missing import Walk
from shim.daemon.clients.who import Who
from shim.daemon.nix.upstream import DaemonRefused, Upstream
from shim.daemon.services import Services
from shim.equivalence.source import Derivations, UnreadableDerivation
from shim.session import policy as policies

NOT_BUILT: Final = BuildResult(
    status=BuildStatus.MISC_FAILURE,
    error_message="not built: something else of the same request failed (keep-going is off)",
)

Connect = Callable[[], AbstractAsyncContextManager[Upstream]]
"""Opens a connection to the serving nix-daemon with the settings of the session."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """A request for several paths, taken apart."""

    graph: Derivations
    ours: dict[DerivedPath, Wanted] = field(default_factory=dict)
    refused: dict[DerivedPath, str] = field(default_factory=dict)
    """Why it is not built here."""
    rest: list[DerivedPath] = field(default_factory=list)
    """The nix-daemon's."""
    below: list[Wanted] = field(default_factory=list)
    """What is ours of what it would build on the way."""


class Requests:
    """See the module."""

    def __init__(self, services: Services, who: Who, send: Send, connect: Connect) -> None:
        self._services = services
        self._builds = services.builds
        self._who = who
        self._send = send
        self._connect = connect
        self._narrator = Narrator(send)
        self._evidence = Evidence(services, who)
        self._asker: Asker | None = None

    def gone(self, gone: ClientGone) -> None:
        """Tell builds how the client went, before it is cancelled what waits for them."""
        if self._asker is not None:
            self._asker.vanished = gone.vanished

    def _ask_for(self, graph: Derivations) -> Asker:
        async def send(message: LogMessage) -> None:
            try:
                await self._send(message)
            except ClientGone as gone:
                self.gone(gone)
                raise

        audience = Audience(send, self._services.config.deadlines.heartbeat)
        self._asker = Asker(self._who.name, self._policy, graph, audience.hear)
        return self._asker

    def _policy(self, wanted: Wanted) -> Policy:
        config = self._services.config
        return policies.resolve(
            config.policy,
            config.rules,
            self._who.name,
            wanted.derivation.platform,
            wanted.name,
        )

    def wanted(self, path: DerivedPath, graph: Derivations) -> Wanted | None:
        """The foreign derivation that `path` asks for, if it is one; reads files."""
        if not isinstance(path, Built) or not isinstance(path.derivation, StorePath):
            return None
        try:
            derivation = graph[path.derivation]
        except UnreadableDerivation:
            return None  # the nix-daemon says what it thinks of it
        if not self._builds.judges(derivation):
            return None
        known = derivation.output_paths()
        names = known if path.outputs == ALL_OUTPUTS else path.outputs
        if not set(names) <= set(known):
            return None  # the same
        return Wanted(path.derivation, derivation, {name: known[name] for name in names})

    async def sort(self, paths: Collection[DerivedPath]) -> Sorted:
        """Take a request apart."""
        found = Sorted(self._services.graph())

        def sort() -> None:
            for path in dict.fromkeys(paths):
                wanted = self.wanted(path, found.graph)
                if why := self._evidence.graph_refusal(path, found.graph, ours=wanted is not None):
                    found.refused[path] = why
                elif wanted is not None:
                    found.ours[path] = wanted
                else:
                    found.rest.append(path)

        await trio.to_thread.run_sync(sort)
        return found

    async def build_all(self, found: Sorted, *, keep_going: bool) -> dict[DerivedPath, BuildResult]:
        """Build everything that a request names.

        Returns:
            A result for each path; after a failure that ended the others, `NOT_BUILT` for those.

        Raises:
            DaemonRefused, DaemonLost, ShimError: the nix-daemon does not do the rest.
            ClientGone: the client left.
        """
        results: dict[DerivedPath, BuildResult] = {}
        for path, why in found.refused.items():
            results[path] = await self.refuse(why)
        asker = self._ask_for(found.graph)
        ended = trio.CancelScope()

        async def attempt(work: Callable[[], Awaitable[dict[DerivedPath, BuildResult]]]) -> None:
            fresh = await work()
            results.update(fresh)
            if not keep_going and not all(each.is_success for each in fresh.values()):
                ended.cancel()

        async def one(path: DerivedPath, wanted: Wanted) -> dict[DerivedPath, BuildResult]:
            result = await self._builds.make(wanted, asker)
            return {path: await self._with_outputs(result, wanted, found.graph)}

        works: list[Callable[[], Awaitable[dict[DerivedPath, BuildResult]]]] = [
            partial(one, path, wanted) for path, wanted in found.ours.items()
        ]
        if found.rest:
            works.append(partial(self._build_rest, found, asker))
        if not results or keep_going:
            with ended:
                await self._every(partial(attempt, work) for work in works)
        every = (*found.refused, *found.ours, *found.rest)
        return {path: results.get(path, NOT_BUILT) for path in every}

    async def _build_rest(self, found: Sorted, asker: Asker) -> dict[DerivedPath, BuildResult]:
        """Have the nix-daemon build what is not ours, after what is ours below it.

        What fails below is left for it to run into: it tells what that keeps from being built.
        """
        await self._every(partial(self._builds.make, each, asker) for each in found.below)
        async with self._connect() as upstream:
            return dict(
                await upstream.ask(
                    BuildPathsWithResults(tuple(found.rest), BuildMode.NORMAL),
                    listen=self._narrator.renumber(),
                    builds=True,
                )
            )

    @staticmethod
    async def _every(works: Iterable[Callable[[], Awaitable[object]]]) -> None:
        """Do all at once; the first error ends the others and is raised as it is."""
        failed: list[Exception] = []

        async def one(work: Callable[[], Awaitable[object]]) -> None:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
                failed.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(one, work)
        if failed:
            raise failed[0]

    async def below(self, found: Sorted, upstream: Upstream) -> list[Wanted]:
        """The foreign derivations that the nix-daemon would build on the way to the rest."""
        if not any(isinstance(path, Built) for path in found.rest):
            return []
        try:
            missing = await upstream.ask(QueryMissing(tuple(found.rest)))
        except DaemonRefused:
            return []  # it says what it thinks of the request when it is asked to build

        def nearest() -> list[Wanted]:
            names: dict[StorePath, frozenset[str]] = {}
            for drv in missing.will_build:
                if drv not in found.graph or self._builds.judges(found.graph[drv]):
                    continue
                for path, chosen in found.graph[drv].input_derivations.items():
                    if path in missing.will_build:
                        names[path] = names.get(path, frozenset()) | chosen.outputs
            asked = (
                self.wanted(Built(path, outputs), found.graph) for path, outputs in names.items()
            )
            return [each for each in asked if each is not None]

        return await trio.to_thread.run_sync(nearest)

    async def missing(self, paths: Collection[DerivedPath], upstream: Upstream) -> Missing:
        """What it would take to realise `paths`."""
        plain = await upstream.ask(QueryMissing(tuple(paths)))
        graph = self._services.graph()

        def is_foreign() -> bool:
            return any(drv in graph and self._builds.judges(graph[drv]) for drv in plain.will_build)

        if not await trio.to_thread.run_sync(is_foreign):
            return plain
        return await Walk(self._builds, self._ask_for(graph), upstream, plain).answer(paths)

    async def build_flat(
        self, request: BuildDerivation, dropped: Collection[StorePath]
    ) -> BuildResult:
        """Build a flat derivation that is ours.

        Args:
            request: what the client asks.
            dropped: what it uploaded and we did not take.
        """
        wanted = Wanted(request.path, request.derivation, request.derivation.output_paths())
        result = await self._builds.make(wanted, self._ask_for(self._services.graph()))
        if result.is_success:
            return result
        lacking = sorted(request.derivation.input_sources & set(dropped))
        if not lacking:
            return result
        return replace(
            result, error_message=f"{result.error_message}\n{self._evidence.remedy(lacking)}"
        )

    async def flat_refusal(self, request: BuildDerivation, dropped: Collection[StorePath]) -> str:
        """Why a flat derivation is not built for this client; empty if it is."""
        graph = self._services.graph()
        return await trio.to_thread.run_sync(
            self._evidence.flat_refusal, request, graph, frozenset(dropped)
        )

    async def refuse(self, why: str) -> BuildResult:
        """A refusal as a result.

        The reason is told beside it: build hooks of clients that were told that they are not
        trusted look at no results (`build-remote`), and only this reaches the user's terminal.
        """
        await self._narrator.say(why)
        return BuildResult(status=BuildStatus.INPUT_REJECTED, error_message=why)

    async def maker(self, path: StorePath, upstream: Upstream) -> tuple[Wanted, Derivations] | None:
        """The foreign derivation of the store that has a path as an output, if there is one."""
        graph = self._services.graph()
        for drv in sorted(await upstream.ask(QueryValidDerivers(path))):
            names = await trio.to_thread.run_sync(self._names, graph, drv, path)
            wanted = self.wanted(Built(drv, names), graph) if names else None
            if wanted is not None:
                return wanted, graph
        return None

    async def ensure(self, path: StorePath, upstream: Upstream) -> BuildResult | None:
        """Make a missing path that a foreign derivation of the store has as an output.

        Returns:
            What became of it; None if there is no such derivation, so that it is the nix-daemon's.
        """
        found = await self.maker(path, upstream)
        if found is None:
            return None
        wanted, graph = found
        objection = self._services.claims.objection
        if why := await trio.to_thread.run_sync(objection, wanted.path, graph):
            return await self.refuse(why)
        return await self._builds.make(wanted, self._ask_for(graph))

    @staticmethod
    def _names(graph: Derivations, drv: StorePath, path: StorePath) -> frozenset[str]:
        if drv not in graph:
            return frozenset()
        outputs = graph[drv].output_paths()
        return frozenset(name for name, each in outputs.items() if each == path)

    async def _with_outputs(
        self, result: BuildResult, wanted: Wanted, graph: Derivations
    ) -> BuildResult:
        """Say which outputs a success made, by the names that old and new clients understand."""
        if not result.is_success:
            return result
        assert isinstance(wanted.derivation, Derivation)
        named = await trio.to_thread.run_sync(
            self._services.claims.realisations, wanted.derivation, wanted.outputs, graph
        )
        return replace(result, built_outputs=named)
