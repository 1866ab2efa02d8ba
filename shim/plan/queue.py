"""Who builds next: limits for the whole machine, and turns between peers.  No I/O.

Peers take turns, not requests: a board that asks for a hundred builds gets as many at once as one
that asks for three, as long as both have some waiting.  Within a peer the order is that of asking.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shim.config import Config, Limits
from shim.plan.decision import Strategy

UNCOUNTED: Final = frozenset({Strategy.SUBSTITUTE})
"""Strategies that take the network rather than processors: `limits.builds` does not count them."""

DOWNLOADS: Final = 16
"""Limit of `substitute` where `limits.by-strategy` names none."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A build that waits, or runs."""

    number: int
    """In the order of asking; unique."""
    system: str
    strategy: Strategy
    peers: Callable[[], frozenset[str]] = field(compare=False)
    """Who waits for it now; somebody."""


@dataclass(frozen=True, slots=True)
class Host:
    """How the machine does."""

    memory: int
    """MiB available."""
    disk: int
    """MiB free in that of the stores in question which has least."""
    pressure: float
    """Percent of the last ten seconds that tasks stood still for want of memory."""


@dataclass(slots=True)
class Queue:
    """Tickets waiting and running."""

    config: Config
    waiting: list[Ticket] = field(default_factory=list)
    running: list[Ticket] = field(default_factory=list)
    _charged: dict[Ticket, str] = field(default_factory=dict)
    """Running -> the peer whose turn it used."""
    _turns: dict[str, int] = field(default_factory=dict)
    """Peer -> how many had been admitted when it had its last turn."""
    _admitted: int = 0

    def admit(self) -> Ticket | None:
        """Let the next one run that may; None if none may."""
        for peer, ticket in self._turn_by_turn():
            if not self._held_by(ticket, peer):
                self._admitted += 1
                self._turns[peer] = self._admitted
                self._charged[ticket] = peer
                self.waiting.remove(ticket)
                self.running.append(ticket)
                return ticket
        return None

    def leave(self, ticket: Ticket) -> None:
        """It does not wait or run any more."""
        for tickets in (self.waiting, self.running):
            if ticket in tickets:
                tickets.remove(ticket)
        self._charged.pop(ticket, None)
        if not self.waiting and not self.running:
            self._turns.clear()

    def in_turn(self) -> list[Ticket]:
        """The waiting in the order in which they would be let in if nothing else held them."""
        return [ticket for _, ticket in self._turn_by_turn()]

    def _turn_by_turn(self) -> list[tuple[str, Ticket]]:
        """The waiting with the peers whose turns they use."""
        taken = Counter(self._charged.values())
        rows = []
        for ticket in sorted(self.waiting, key=lambda each: each.number):
            peer = min(
                ticket.peers(), key=lambda each: (taken[each], self._turns.get(each, 0), each)
            )
            rows.append((taken[peer], self._turns.get(peer, 0), ticket.number, peer, ticket))
            taken[peer] += 1
        return [(peer, ticket) for *_, peer, ticket in sorted(rows, key=lambda row: row[:3])]

    def held_by(self, ticket: Ticket) -> str:
        """The limit that keeps a ticket waiting; empty if none does."""
        peer = next(peer for peer, each in self._turn_by_turn() if each == ticket)
        return self._held_by(ticket, peer)

    def _held_by(self, ticket: Ticket, peer: str) -> str:
        limits = self.config.limits
        counted = [each for each in self.running if each.strategy not in UNCOUNTED]
        rows: Sequence[tuple[Iterable[Ticket], int | None, str]] = (
            (counted if ticket.strategy not in UNCOUNTED else (), limits.builds, "limits.builds"),
            (
                (each for each in self.running if each.strategy is ticket.strategy),
                _of_strategy(limits, ticket.strategy),
                f"limits.by-strategy.{ticket.strategy}",
            ),
            (
                (each for each in counted if each.system == ticket.system),
                limits.by_system.get(ticket.system),
                f"limits.by-system.{ticket.system}",
            ),
            (
                (each for each in counted if self._charged[each] == peer),
                self.config.peer(peer).builds,
                f"peers.{peer}.builds",
            ),
        )
        for running, most, name in rows:
            number = sum(1 for _ in running)
            if most is not None and number >= most:
                return f"{number} builds run ({name})"
        return ""

    def place(self, ticket: Ticket) -> tuple[int, int]:
        """Its place among the waiting, counted from 1, and their number."""
        return self.in_turn().index(ticket) + 1, len(self.waiting)


def _of_strategy(limits: Limits, strategy: Strategy) -> int | None:
    by_strategy: Mapping[str, int] = limits.by_strategy
    return by_strategy.get(strategy, DOWNLOADS if strategy in UNCOUNTED else None)


def short_of(host: Host, limits: Limits, running: int) -> str:
    """What the machine lacks for another build; empty if nothing.

    Args:
        host: how it does.
        limits: what is to be left.
        running: builds that run.  When none does, waiting frees neither memory nor pressure.
    """
    if host.disk < limits.disk:
        return f"{host.disk} MiB are free in the store (limits.disk = {limits.disk})"
    if not running:
        return ""
    if host.memory < limits.memory:
        return f"{host.memory} MiB of memory are free (limits.memory = {limits.memory})"
    if host.pressure > limits.pressure:
        return (
            f"tasks wait for memory {host.pressure:.0f} % of the time"
            f" (limits.pressure = {limits.pressure:g})"
        )
    return ""
