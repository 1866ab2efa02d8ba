"""Places to build in: builds wait here until limits, machine and turn let them run.

One scheduler for all domains.  What may run is decided by `shim.plan.queue`; this module waits,
looks at the machine, and says why something waits.  Nobody holds a place while waiting for inputs.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
import trio

from shim.config import Config
from shim.plan.decision import Strategy
from shim.plan.queue import Host, Queue, Ticket, short_of

log = structlog.get_logger()

LOOK: Final = 2.0
"""Seconds between looks at a machine that lacks something: the kernel announces nothing."""

MEMORY: Final = Path("/proc/meminfo")
PRESSURE: Final = Path("/proc/pressure/memory")
"""Absent where the kernel was built without PSI; there is no pressure then."""


class Waiting:
    """A ticket in the queue, for whoever holds it."""

    def __init__(self, ticket: Ticket, roots: tuple[Path, ...]) -> None:
        self.ticket = ticket
        self.roots = roots
        self.turn = trio.Event()
        self.refused = ""
        """Why its turn will never come; set before `turn`."""


class Scheduler:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._queue = Queue(config)
        self._numbers = itertools.count()
        self._waiting: dict[Ticket, Waiting] = {}
        self._short = ""

    @property
    def running(self) -> tuple[Ticket, ...]:
        """Builds that have a place."""
        return tuple(self._queue.running)

    @property
    def waiting(self) -> tuple[Ticket, ...]:
        """Builds that wait, in the order of their turns."""
        return tuple(self._queue.in_turn())

    def enter(
        self,
        peers: Callable[[], frozenset[str]],
        system: str,
        strategy: Strategy,
        roots: Iterable[Path],
    ) -> Waiting:
        """Take a ticket; it runs already if nothing holds it.

        Args:
            peers: who waits for it, at any time: somebody.
            system: Nix system that is built for.
            strategy: how.
            roots: of the stores that are written to.
        """
        ticket = Ticket(next(self._numbers), system, strategy, peers)
        waiting = self._waiting[ticket] = Waiting(ticket, tuple(roots))
        self._queue.waiting.append(ticket)
        self._advance()
        return waiting

    @contextmanager
    def place(self, waiting: Waiting) -> Iterator[None]:
        """Hold the ticket, so that its turn comes; it is given back at the end of the block."""
        try:
            yield
        finally:
            self.leave(waiting)

    async def look_around(self) -> None:
        """Look at the machine again and again while something waits for it, for ever."""
        while True:
            await trio.sleep(LOOK)
            self._advance()

    def leave(self, waiting: Waiting) -> None:
        """Give the ticket back, whether it waits or runs; harmless when done twice."""
        if self._waiting.pop(waiting.ticket, None) is not None:
            self._queue.leave(waiting.ticket)
            self._advance()

    def why(self, waiting: Waiting) -> str:
        """Why it waits and how many are before it, for its client."""
        if waiting.turn.is_set():
            return "its turn has come"
        place, number = self._queue.place(waiting.ticket)
        reason = self._queue.held_by(waiting.ticket) or self._short or "others come first"
        return f"{reason}, place {place} of {number}"

    def _advance(self) -> None:
        while self._queue.waiting:
            self._short = self._lacking()
            if self._short and self._queue.running:
                return
            if self._short:  # nothing ends that would mend it
                self._refuse(self._queue.in_turn()[0])
                continue
            ticket = self._queue.admit()
            if ticket is None:
                return
            self._waiting[ticket].turn.set()

    def _refuse(self, ticket: Ticket) -> None:
        waiting = self._waiting.pop(ticket)
        self._queue.leave(ticket)
        waiting.refused = self._short
        waiting.turn.set()

    def _lacking(self) -> str:
        """What the machine lacks for the next one."""
        roots = {root for each in self._queue.in_turn()[:1] for root in self._waiting[each].roots}
        return short_of(look(roots), self._config.limits, len(self._queue.running))


def look(roots: Iterable[Path]) -> Host:
    """How the machine does, and the file systems of some stores."""
    return Host(_memory(), min(map(_disk, roots), default=1 << 40), _pressure())


def _disk(root: Path) -> int:
    while not root.exists():
        root = root.parent
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize >> 20


def _memory() -> int:
    for line in MEMORY.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    return 1 << 40


def _pressure() -> float:
    try:
        some = PRESSURE.read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return 0.0
    return float(dict(each.split("=") for each in some.split()[1:])["avg10"])
