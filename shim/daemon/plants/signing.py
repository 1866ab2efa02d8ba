"""Signatures for what the serving store's own nix-daemon has built, such as under emulation.

Planted paths are signed before their import; a path that a nix-daemon builds is registered the
moment the build ends, so its signature follows.  Only paths which that store built itself
(`ultimate`) are signed: outputs that were there before, fetched or uploaded, came about otherwise.
"""

from collections.abc import Iterable

from protocol.store.path import StorePath
from protocol.worker.messages import AddSignatures, QueryPathInfo
from shim.daemon.nix.upstream import Upstream
from shim.keys import KeyRing, Made


async def sign_built(
    serving: Upstream, keys: KeyRing, paths: Iterable[StorePath], made: Made
) -> frozenset[StorePath]:
    """Sign paths that the serving store has just built, with the newest key of `made`.

    Call it before the client hears of the build: it copies the signatures along with the paths.

    Args:
        serving: trusted connection to the daemon that built them.
        keys: the keys.
        paths: outputs; those that are not valid, not built there or signed already are passed by.
        made: how they came about.

    Returns:
        The paths that got a signature.

    Raises:
        ShimError: there is no key of that kind.
        DaemonRefused, DaemonLost: the nix-daemon failed us.
    """
    signed = set()
    for path in sorted(paths):
        info = await serving.ask(QueryPathInfo(path))
        if info is None or not info.ultimate:
            continue
        fresh = keys.sign(path, info, made).signatures - info.signatures
        if fresh:
            await serving.ask(AddSignatures(path, fresh))
            signed.add(path)
    return frozenset(signed)
