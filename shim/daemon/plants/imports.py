"""Imports of several outputs as a whole: none is left half done.

A nix-daemon registers the paths of one `AddMultipleToStore` one after the other (Nix:
`Store::addMultipleToStore`).  All of them have been judged before, but a later plant of the same
derivation needs all or none to be there.  What is under way is written down first; what was cut
off, by an error or by our end, is taken back before the next one.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from protocol.store.path import StorePath
from protocol.worker.messages import CollectGarbage, QueryValidPaths
from shim.daemon.nix.nixstore import Nix
from shim.daemon.nix.removing import remove
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Upstream
from shim.daemon.state import State
from shim.errors import ShimError

log = structlog.get_logger()

PATIENCE: Final = 20
"""Seconds for taking back an import that was cancelled."""


class Imports:
    """Imports into one domain's serving store."""

    def __init__(self, domain: str, serving: Nix, state: State) -> None:
        self._domain = domain
        self._serving = serving
        self._state = state

    @asynccontextmanager
    async def under_way(self, paths: Iterable[StorePath]) -> AsyncIterator[Upstream]:
        """A connection over which `paths` are to be imported within the block."""
        wanted = frozenset(paths)
        number = self._state.begin_import(self._domain, wanted)
        try:
            async with self._serving.connection() as upstream:
                yield upstream
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE):
                await self._take_back(number, wanted)
            raise
        self._state.end_import(number)

    async def settle(self) -> None:
        """Take back what an earlier run of ours left half done."""
        for number, paths in self._state.imports(self._domain):
            await self._take_back(number, paths)

    async def _take_back(self, number: int, paths: frozenset[StorePath]) -> None:
        """Delete what is there unless all of it is; kept in mind if that is not possible now."""
        try:
            async with self._serving.connection() as upstream:
                valid = await upstream.ask(QueryValidPaths(paths, substitute=False))
                if valid != paths:
                    await remove(upstream, valid)
                    # What was written before a disk was full lies there without being valid.
                    await upstream.ask(CollectGarbage.delete(paths))
        except (DaemonLost, DaemonRefused, ShimError) as error:
            log.warning("import-unsettled", paths=sorted(paths), why=str(error))
            return
        if valid and valid != paths:
            log.info("import-taken-back", paths=sorted(valid))
        self._state.end_import(number)
