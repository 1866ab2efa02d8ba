"""Deleting paths that a nix-daemon calls alive for a moment longer than they are."""

from collections.abc import Iterable
from typing import Final

import trio

from protocol.store.path import StorePath
from protocol.worker.messages import CollectGarbage, QueryReferrers, QueryValidPaths
from shim.daemon.nix.upstream import DaemonRefused, Upstream

RETRIES: Final = (0.05, 0.2, 1.0)
"""Seconds to wait before each new attempt."""


async def remove(upstream: Upstream, paths: Iterable[StorePath]) -> frozenset[StorePath]:
    """Delete those of `paths` that are valid, and whatever refers to them.

    A path cannot be deleted while the nix-daemon's process that built it lives, which ends a moment
    after its connection.

    Returns:
        What was deleted.

    Raises:
        DaemonRefused: something of it is in use.
    """
    left = await upstream.ask(QueryValidPaths(frozenset(paths), substitute=False))
    if not left:
        return frozenset()
    doomed, fringe = set(left), set(left)
    while fringe:
        found = {each for path in fringe for each in await upstream.ask(QueryReferrers(path))}
        fringe = found - doomed
        doomed |= found
    for pause in RETRIES:
        try:
            await upstream.ask(CollectGarbage.delete(frozenset(doomed)))
        except DaemonRefused:
            await trio.sleep(pause)
        else:
            return frozenset(doomed)
    await upstream.ask(CollectGarbage.delete(frozenset(doomed)))
    return frozenset(doomed)
