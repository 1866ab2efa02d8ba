"""A nix-daemon as the daemon's own work sees it: connections on demand, bounded in number.

Every piece of work gets a connection of its own and closes it.  None is kept for later: a
nix-daemon's process remembers for an hour which paths it found missing, and keeps from the garbage
collector whatever it touched.  Whoever holds a connection never waits for another piece of work; a
plant holds two at once, so there is room for two of each build that may run.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import trio

from shim.config import Config
from shim.daemon.nix.upstream import Upstream, options

T = TypeVar("T")

CONNECTIONS: Final = 64
"""Open at once to one nix-daemon for questions; each is a process of some 10 MB there."""


class Nix:
    """See the module."""

    def __init__(self, name: str, socket: Path, config: Config) -> None:
        """See the class.

        Args:
            name: for messages.
            socket: where the nix-daemon listens.
            config: the whole configuration.
        """
        self.name = name
        self.socket = socket
        self._config = config
        self._room = trio.Semaphore(CONNECTIONS + 2 * config.limits.builds)

    @asynccontextmanager
    async def connection(
        self, *, use_substitutes: bool = True, beside: Sequence[str] = ()
    ) -> AsyncIterator[Upstream]:
        """A connection with settings of ours; closed at the end of the block.

        Args:
            use_substitutes: whether it may fetch from other stores.
            beside: URIs of stores to fetch from besides those that it is set up with.

        Raises:
            ShimError, DaemonRefused, DaemonLost: there is no connecting to it.
        """
        async with (
            self._room,
            Upstream.open(
                self.name, self.socket, self._config.store_dir, self._config.deadlines
            ) as upstream,
        ):
            settings = options(use_substitutes=use_substitutes, cores=self._config.limits.cores)
            if beside:
                more = {"extra-substituters": " ".join(beside)}
                settings = replace(settings, overrides={**settings.overrides, **more})
            await upstream.ask(settings)
            yield upstream

    async def do(self, work: Callable[[Upstream], Awaitable[T]]) -> T:
        """The result of `work` with a connection of its own."""
        async with self.connection() as upstream:
            return await work(upstream)
