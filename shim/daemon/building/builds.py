"""Judged builds: one flight for everyone who wants the same paths, made in the daemon's own task.

Shared by all sessions of a domain.  A session only waits and listens; when it leaves, its flights
go on as long as somebody else waits for them (`shim.daemon.building.flight`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
import trio

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derivation import FixedOutput, InputAddressed, Recipe
from protocol.store.path import StorePath
from shim.config import Config, Domain
from shim.daemon.building.deciding import Decider
from shim.daemon.building.flight import Asker, Flight, Wanted
from shim.daemon.building.keeping import Keeper
from shim.daemon.building.keptlogs import KeptLogs
from shim.daemon.building.making import Maker, Means
from shim.daemon.building.scheduling import Scheduler
from shim.daemon.nix.nixdaemon import local_uri
from shim.daemon.nix.nixstore import Nix
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused
from shim.daemon.plants.imports import Imports
from shim.daemon.plants.planting import Planter
from shim.daemon.scans import Scans
from shim.daemon.state import State
from shim.daemon.tables import Tables
from shim.errors import ShimError
from shim.keys import KeyRing
from shim.plan.decision import Decision, Strategy
from shim.plan.failures import Kind, StepFailed
from shim.systems import Systems

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shared:
    """What builds of all domains have in common."""

    config: Config
    systems: Systems
    tables: Tables
    state: State
    scans: Scans
    keys: KeyRing
    lacks: Mapping[str, str | None]
    """System -> why it cannot be emulated here, or None."""
    scheduler: Scheduler
    nursery: trio.Nursery
    """Where flights live; cancelling it ends them."""


@dataclass(frozen=True, slots=True)
class View:
    """One build under way, for operators."""

    derivation: StorePath
    system: str
    strategy: Strategy | None
    """What is tried now; None while that is being decided."""
    doing: str
    """In words, with how long it has been doing that."""
    started: float
    """Seconds since the epoch."""
    peers: frozenset[str]
    """Who waits for it; nobody during the grace time of clients that vanished."""


class Builds:
    """See the module."""

    def __init__(
        self, shared: Shared, name: str, domain: Domain, serving: Nix, plant: Nix | None
    ) -> None:
        """See the class.

        Args:
            shared: what all domains have in common.
            name: the domain's.
            domain: its stores.
            serving: nix-daemon of its serving store.
            plant: nix-daemon of its plant store, if it has one.
        """
        self.shared = shared
        config, seconds = shared.config, shared.config.deadlines.protect
        self._config = config
        self._nursery = shared.nursery
        self._imports = Imports(name, serving, shared.state)
        self._keepers = [Keeper(domain.serving.root, seconds)]
        planter = None
        if domain.plant is not None and plant is not None:
            self._keepers.append(Keeper(domain.plant.root, seconds))
            planter = Planter(
                config, domain, plant, self._imports, self._keepers[-1], shared.systems, shared.keys
            )
        self._decider = Decider(
            domain, serving, shared.tables, shared.state, shared.scans, shared.lacks
        )
        means = Means(
            domain,
            serving,
            shared.keys,
            planter,
            shared.tables,
            shared.state,
            self._decider,
            shared.scheduler,
            self._keepers[0],
            ()
            if domain.serving.root == config.evaluation.root
            else (local_uri(config.evaluation.root, config.store_dir, trusted="true"),),
        )
        self._maker = Maker(means, self._make_inputs)
        self._logs = KeptLogs(config.state_directory)
        self._flights: dict[StorePath, Flight] = {}

    async def settle(self) -> None:
        """Put right what an earlier run left when it was killed, and protect paths from then on.

        Call it once, before anybody asks for builds.
        """
        for keeper in self._keepers:
            keeper.settle()
            self._nursery.start_soon(keeper.run)
        await self._imports.settle()

    @property
    def under_way(self) -> int:
        """How many builds go on, whether anybody waits for them or not."""
        return len(self._flights)

    def views(self) -> list[View]:
        """The builds under way, in the order in which they were asked for."""
        return [
            View(
                each.wanted.path,
                each.wanted.derivation.platform,
                each.strategy,
                each.doing,
                each.started,
                each.peers,
            )
            for each in self._flights.values()
        ]

    def judges(self, derivation: Recipe) -> bool:
        """Whether builds of `derivation` are ours to decide: a foreign system, known outputs."""
        return derivation.platform in self._config.systems and all(
            isinstance(output, InputAddressed | FixedOutput)
            for output in derivation.outputs.values()
        )

    async def decide(self, wanted: Wanted, asker: Asker) -> Decision:
        """What would be done for `wanted` now, with reasons.

        Raises:
            DaemonRefused, DaemonLost, ShimError: the serving nix-daemon did not answer.
        """
        return await self._decider.decide(wanted, asker.policy(wanted), asker.graph)

    async def make(self, wanted: Wanted, asker: Asker) -> BuildResult:
        """Bring the wanted outputs into the serving store, alone or with others who want them.

        May be called many times at once, also for one session.  Cancelling it leaves the flight.

        Returns:
            Nix's own result; failures carry every reason, one line each.

        Raises:
            whatever `asker.hear` raises.
        """
        policy = asker.policy(wanted)
        while wanted.key not in asker.failed:
            flight = self._flights.get(wanted.key)
            if flight is None:
                flight = self._flights[wanted.key] = Flight(wanted, asker, policy)
                self._nursery.start_soon(self._fly, flight)
            if not flight.serves(wanted, policy):
                await self._attend(flight, asker)
                continue
            with flight.boarded(asker, self._config.deadlines.grace):
                await self._attend(flight, asker)
            if flight.result is None:
                return BuildResult(
                    status=BuildStatus.TRANSIENT_FAILURE,
                    error_message=f"`{wanted.name}`: nix-shim is stopping",
                )
            if not flight.result.is_success:
                asker.failed[wanted.key] = flight.result
            return flight.result
        return asker.failed[wanted.key]

    async def _attend(self, flight: Flight, asker: Asker) -> None:
        """Wait for its end, listening."""
        await asker.hear(flight.log, flight.alive)
        await flight.done.wait()

    async def _fly(self, flight: Flight) -> None:
        started = time.time()
        try:
            with flight.scope:
                flight.result = await self._result(flight, started)
                await self._keep_log(flight)
        finally:
            del self._flights[flight.wanted.key]
            flight.log.end()
            flight.done.set()

    async def _keep_log(self, flight: Flight) -> None:
        if flight.build_log is None:
            return  # nothing was built
        keep = self._logs.keep
        try:
            await trio.to_thread.run_sync(keep, flight.wanted.path, list(flight.log.lines()))
        except OSError as error:
            log.warning("log-not-kept", derivation=flight.wanted.path, why=str(error))

    async def _result(self, flight: Flight, started: float) -> BuildResult:
        try:
            return await self._maker.make(flight)
        except (DaemonRefused, DaemonLost, ShimError) as error:
            why = f"the serving nix-daemon failed ({Kind.DAEMON}, transient): {error}"
            log.info(
                "build-failed",
                derivation=flight.wanted.path,
                peer=flight.peer,
                strategy=flight.strategy,
                kind=Kind.DAEMON.value,
                reason=str(error),
            )
        except Exception:
            log.exception("build-crashed", derivation=flight.wanted.path)
            why = "nix-shim made a mistake; its log has the details, please report it"
        await flight.narrator.say(f"{flight.wanted.name}: {why}")
        return BuildResult(
            status=BuildStatus.TRANSIENT_FAILURE,
            error_message=f"`{flight.wanted.name}` for {flight.wanted.derivation.platform}: {why}",
            start_time=int(started),
            stop_time=int(time.time()),
        )

    async def _make_inputs(
        self, flight: Flight, inputs: Mapping[StorePath, frozenset[str]]
    ) -> None:
        """Make the foreign ones among the inputs of a flight, at once; the first failure ends all.

        What is not foreign is built by the nix-daemon on its way.
        """
        asker = flight.input_asker()
        flight.does("waiting for inputs")
        failures: list[StepFailed] = []

        async def one(wanted: Wanted) -> None:
            result = await self.make(wanted, asker)
            if not result.is_success:
                message = result.error_message or result.status.name
                failures.append(
                    StepFailed(f"its input `{wanted.path.name}`: {message}", Kind.INPUT)
                )
                nursery.cancel_scope.cancel()

        foreign = []
        for drv, names in inputs.items():
            derivation = asker.graph[drv]
            if self.judges(derivation):
                paths = derivation.output_paths()
                foreign.append(Wanted(drv, derivation, {name: paths[name] for name in names}))
        async with trio.open_nursery() as nursery:
            for wanted in foreign:
                nursery.start_soon(one, wanted)
        if failures:
            raise failures[0]
