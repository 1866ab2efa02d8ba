"""Judged builds: one flight for everyone who wants the same paths, made in the daemon's own task.

Shared by all sessions of a domain.  A session only waits and listens; when it leaves, its flights
go on as long as somebody else waits for them (`shim.daemon.flight`).
"""

import time
from collections.abc import Mapping

import structlog
import trio

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derivation import InputAddressed, Recipe
from protocol.store.path import StorePath
from shim.config import Config, Domain
from shim.daemon.deciding import Decider
from shim.daemon.flight import Asker, Flight, Wanted
from shim.daemon.making import Maker, Means
from shim.daemon.nixstore import Nix
from shim.daemon.planting import Planter
from shim.daemon.scans import Scans
from shim.daemon.scheduling import Scheduler
from shim.daemon.state import State
from shim.daemon.tables import Tables
from shim.daemon.upstream import DaemonLost, DaemonRefused
from shim.errors import ShimError
from shim.keys import KeyRing
from shim.plan.decision import Decision
from shim.plan.failures import Kind, StepFailed

log = structlog.get_logger()


class Builds:
    """See the module."""

    def __init__(
        self,
        config: Config,
        serving: Nix,
        keys: KeyRing,
        planter: Planter | None,
        tables: Tables,
        state: State,
        scans: Scans,
        lacks: Mapping[str, str | None],
        scheduler: Scheduler,
        domain: Domain,
        nursery: trio.Nursery,
    ) -> None:
        """See the class.

        Args:
            config: the whole configuration.
            serving: nix-daemon of the domain's serving store.
            keys: sign what that nix-daemon builds.
            planter: plants in the domain's plant store, if it has one.
            tables: shared by all domains, as are the next two.
            state: remembers what failed and what was built.
            scans: hears of what no table knows.
            lacks: system -> why it cannot be emulated here, or None.
            scheduler: gives places to build in, in all domains.
            domain: the stores.
            nursery: where flights live; cancelling it ends them.
        """
        self._config = config
        self._decider = Decider(serving, tables, state, scans, lacks)
        means = Means(domain, serving, keys, planter, tables, state, self._decider, scheduler)
        self._maker = Maker(means, self._make_inputs)
        self._nursery = nursery
        self._flights: dict[StorePath, Flight] = {}

    def judges(self, derivation: Recipe) -> bool:
        """Whether builds of `derivation` are ours to decide: a foreign system, known outputs."""
        return derivation.platform in self._config.systems and all(
            isinstance(output, InputAddressed) for output in derivation.outputs.values()
        )

    async def decide(self, wanted: Wanted, asker: Asker) -> Decision:
        """What would be done for `wanted` now, with reasons.

        Raises:
            DaemonRefused, DaemonLost, ShimError: the serving nix-daemon did not answer.
        """
        return await self._decider.decide(wanted, asker.policy(wanted))

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
        finally:
            del self._flights[flight.wanted.key]
            flight.log.end()
            flight.done.set()

    async def _result(self, flight: Flight, started: float) -> BuildResult:
        try:
            return await self._maker.make(flight)
        except (DaemonRefused, DaemonLost, ShimError) as error:
            why = f"the serving nix-daemon failed: {error}"
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
