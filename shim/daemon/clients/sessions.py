"""All sessions of the daemon: how many there may be, who they are for, and how they end.

When the daemon stops, sessions for which nothing is done are ended after `deadlines.shutdown`: a
builder's client asks for the build, and then for what was built.  The others go on until the caller
gives up.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from shim.config import Config
from shim.daemon.clients.who import Who
from shim.preamble import Speaks
from shim.session.routes import Standing

SPARE: Final = 64
"""Connections beyond `limits.sessions` that are held while they are turned away."""

LOOK: Final = 0.2
"""Seconds between looks at what goes on while the daemon stops."""


@dataclass(eq=False, slots=True)
class Live:
    """A session that goes on, as operators see it."""

    who: Who
    since: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    doing: str = ""
    """The operation that is under way; empty between two."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Cancelled to end it."""
    idle_from: float = field(default_factory=trio.current_time)
    """When something was last seen to be under way, on trio's clock; looked at when stopping."""
    stirred: bool = False
    """Set by threads that pass things on; taken back by whoever looks at it."""

    def stir(self) -> None:
        """Something is under way."""
        self.idle_from = trio.current_time()
        self.stirred = False


class Sessions:
    """See the module."""

    def __init__(self) -> None:
        self.live: set[Live] = set()
        self.stopping = False
        self._connections: Counter[Standing] = Counter()
        self._by_peer: Counter[str] = Counter()

    def objection(self, who: Who, config: Config) -> str:
        """Why `who` is not admitted now; empty if it is, as whoever only looks always is."""
        if who.speaks is Speaks.CONTROL:
            return ""
        if self.stopping:
            return "this builder is being stopped; try again in a minute"
        if who.standing is Standing.OPERATOR:
            return ""  # a nix-daemon has no limit either
        if (held := self._connections[Standing.PEER]) >= config.limits.sessions:
            return (
                f"this builder has {held} connections of boards, its limit"
                " (limits.sessions); try again later"
            )
        allowed = config.peer(who.name).sessions
        if self._by_peer[who.name] >= allowed:
            return f"`{who.name}` has {allowed} connections, its limit (peers.{who.name}.sessions)"
        return ""

    @property
    def operators(self) -> int:
        """Connections of operators, which are not limited."""
        return self._connections[Standing.OPERATOR]

    @contextmanager
    def admitted(self, who: Who) -> Iterator[None]:
        """Count a connection for as long as the block lasts."""
        self._connections[who.standing] += 1
        self._by_peer[who.name] += 1
        try:
            yield
        finally:
            self._connections[who.standing] -= 1
            self._by_peer[who.name] -= 1
            self._by_peer += Counter()  # forgets names whose count is 0

    @contextmanager
    def shown(self, who: Who) -> Iterator[Live]:
        """List a session for as long as the block lasts, which may be ended from here.

        What one connection needs several sessions for shares one `who`: they end together.
        """
        live = Live(who)
        self.live.add(live)
        try:
            with live.scope:
                yield live
        finally:
            self.live.discard(live)

    async def drain(self, shutdown: float) -> None:
        """Admit nobody any more, and wait until no connection is left.

        Args:
            shutdown: seconds of idleness after which a session is ended.
        """
        self.stopping = True
        for live in self.live:
            live.stir()
        while self._connections.total():
            busy = {id(live.who) for live in self.live if live.doing}
            for live in self.live:
                if live.stirred or id(live.who) in busy:
                    live.stir()
                elif trio.current_time() - live.idle_from > shutdown:
                    live.scope.cancel()
            await trio.sleep(LOOK)
