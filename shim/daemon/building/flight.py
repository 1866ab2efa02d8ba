"""One derivation that is being made, and those who wait for it.

A flight belongs to the daemon, not to the session that asked first: whoever wants the same paths
boards it and hears its log from the start.  When the last one leaves in an orderly way it is
cancelled; when the last one vanished it goes on for a grace time, so that it can be boarded again.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from protocol.store.build_result import BuildResult
from protocol.store.derivation import BasicDerivation, Recipe
from protocol.store.path import StorePath
from protocol.worker.stderr import LogMessage, Next
from shim.config import Policy
from shim.daemon.building.flightlog import FlightLog
from shim.daemon.building.narrator import SIGN, BuildLog, Narrator
from shim.equivalence.source import Derivations
from shim.plan.decision import Strategy


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

    @property
    def key(self) -> StorePath:
        """The same for all recipes of the same outputs, and different for those of others."""
        return min(self.derivation.output_paths().values())


@dataclass(slots=True, eq=False)
class Asker:
    """Whoever asks for builds: one request of a client, or a flight that needs an input."""

    peer: str
    policy: Callable[[Wanted], Policy]
    """What its peer allows for a derivation."""
    graph: Derivations
    """The derivations of the serving store, for requests that come with their graph."""
    hear: Callable[[FlightLog, Callable[[], LogMessage]], Awaitable[None]]
    """Listens to the log of a build that is made for it, as `Audience.hear` does."""
    vanished: bool = False
    """Set before its waiting is cancelled: it was lost, and may come back for the same."""
    failed: dict[StorePath, BuildResult] = field(default_factory=dict)
    """What failed within this request, by `Wanted.key`, so that no input is tried twice."""
    flight: "Flight | None" = None
    """The flight that asks for an input, if one does."""

    @property
    def peers(self) -> frozenset[str]:
        """On whose behalf it asks now."""
        return frozenset({self.peer}) if self.flight is None else self.flight.peers


class Flight:
    """See the module.  Its work is done by `shim.daemon.building.making`."""

    def __init__(self, wanted: Wanted, asker: Asker, policy: Policy) -> None:
        self.wanted = wanted
        self.peer = asker.peer
        """The peer that asked first."""
        self.policy = policy
        self.asker = asker
        """Who asked first: its graph is used."""
        self.log = FlightLog()
        self.narrator = Narrator(self.log.add)
        self.build_log: BuildLog | None = None
        """Its own, once it has been decided what to do."""
        self.strategy: Strategy | None = None
        """What is tried now."""
        self.started = time.time()
        """Seconds since the epoch."""
        self._doing: Callable[[], str] = "deciding".__str__
        self._since = trio.current_time()
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.result: BuildResult | None = None
        """Once `done`; None if it was cancelled."""
        self._askers: set[Asker] = set()
        self._owed_until = -math.inf

    def serves(self, wanted: Wanted, policy: Policy) -> bool:
        """Whether what it makes is what somebody else wants, in a way that they allow."""
        return (
            policy == self.policy
            and set(wanted.outputs.values()) <= set(self.wanted.outputs.values())
            and not self.scope.cancel_called
        )

    def does(self, what: str | Callable[[], str]) -> None:
        """From now on it does something else, described by a participle."""
        self._doing = what if callable(what) else what.__str__
        self._since = trio.current_time()

    @property
    def doing(self) -> str:
        """What it does now, and since when."""
        return f"{self._doing()} for {trio.current_time() - self._since:.0f} s"

    def alive(self) -> LogMessage:
        """What those who wait are told while nothing else is said."""
        if self.build_log is None:
            return Next(f"{SIGN}{self.wanted.name}: {self.doing}\n")
        return self.build_log.own(self.doing)

    @property
    def peers(self) -> frozenset[str]:
        """Who waits for it now, or for what it is an input of."""
        return frozenset(peer for each in self._askers for peer in each.peers)

    @contextmanager
    def boarded(self, asker: Asker, grace: float) -> Iterator[None]:
        """Keep it going for `asker`.

        Args:
            asker: who waits.
            grace: seconds for which it goes on when `asker` vanishes.
        """
        self._askers.add(asker)
        self.scope.deadline = math.inf
        try:
            yield
        finally:
            self._askers.discard(asker)
            now = trio.current_time()
            if asker.vanished:
                self._owed_until = max(self._owed_until, now + grace)
            if not self._askers:
                self.scope.deadline = max(now, self._owed_until)

    def input_asker(self) -> Asker:
        """Asks for its inputs: under the same policy of the same peer, heard in its own log."""

        async def hear(log: FlightLog, _: object) -> None:
            self.log.include(log)

        return Asker(
            self.peer,
            self.asker.policy,
            self.asker.graph,
            hear,
            failed=self.asker.failed,
            flight=self,
        )
