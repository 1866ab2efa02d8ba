"""A session's own connection to the serving store's nix-daemon: opened late, replaced if stale."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from protocol.worker.messages import SetOptions
from shim.daemon.nix.upstream import Upstream, options
from shim.daemon.services import Services


class Backing:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._upstream: Upstream | None = None
        self._current = AsyncExitStack()
        self._kept = AsyncExitStack()
        self.settings: SetOptions | None = None
        """The client's settings; None: ours."""
        self.protects = False
        """Whether the nix-daemon's process keeps paths from the garbage collector by now."""

    @property
    def base(self) -> SetOptions:
        """The settings of a client that sends none."""
        return options(cores=self._services.config.limits.cores)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Upstream]:
        """A further connection, with the same settings.

        Raises:
            ShimError, DaemonRefused, DaemonLost: there is no connecting.
        """
        config = self._services.config
        async with Upstream.open(
            "serving nix-daemon", self._services.serving, config.store_dir, config.deadlines
        ) as upstream:
            await upstream.ask(self.settings or self.base)
            yield upstream

    async def get(self) -> Upstream:
        """The connection; the same as long as it is neither stale nor lost."""
        if self._upstream is None:
            self._upstream = await self._current.enter_async_context(self.connect())
        return self._upstream

    async def renew(self) -> None:
        """Use another one from here on: a nix-daemon's process remembers which paths it missed.

        The old one stays open if it protects anything.
        """
        if self.protects:
            self._kept.push_async_callback(self._current.aclose)
            self._current = AsyncExitStack()
        await self.lose()

    async def lose(self) -> None:
        """Close it, and open another one when it is needed."""
        await self._current.aclose()
        self._upstream = None
        self.protects = False

    async def close(self) -> None:
        """Close everything."""
        await self._current.aclose()
        await self._kept.aclose()
