"""Questions that take several operations of the worker protocol: closures, orders, derivations.

Asked of a session on behalf of a peer; failures are told in the words of Nix's errors.
"""

from collections.abc import Callable, Iterable, Mapping

from protocol.nar.events import Data
from protocol.nar.reader import NarReader
from protocol.store import aterm
from protocol.store.derivation import Derivation
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.worker.messages import (
    NarFromPath,
    QueryDerivationOutputMap,
    QueryPathInfo,
    QueryReferrers,
    QueryValidDerivers,
    QueryValidPaths,
)
from shim.daemon.nix.upstream import Upstream, reached


class Unanswered(Exception):
    """The store cannot answer; the message is Nix's, without its `error: `."""


class Store:
    """The store behind a session, for as long as one request: what is known of a path is kept."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._known: dict[StorePath, PathInfo | None] = {}

    async def find(self, path: StorePath) -> PathInfo | None:
        """What is known about a path; None if it is not valid."""
        if path not in self._known:
            self._known[path] = await self._upstream.ask(QueryPathInfo(path))
        return self._known[path]

    async def info(self, path: StorePath) -> PathInfo:
        """What is known about a valid path.

        Raises:
            Unanswered: it is not valid.
        """
        found = await self.find(path)
        if found is None:
            raise Unanswered(f"path '{path}' is not valid")
        return found

    async def outputs(self, path: StorePath) -> Mapping[str, StorePath | None]:
        """The outputs of a derivation that is valid, by name; None where nobody knows yet."""
        await self.info(path)
        return await self._upstream.ask(QueryDerivationOutputMap(path))

    async def derivation(self, path: StorePath) -> Derivation:
        """The derivation at a valid path.

        Raises:
            Unanswered: it is not valid.
            RemoteProtocolError: it is no derivation.
        """
        await self.info(path)
        reader, contents = NarReader(), []
        async for piece in self._upstream.stream(NarFromPath(path)):
            contents += [event.data for event in reader.feed(piece) if isinstance(event, Data)]
        return aterm.parse(b"".join(contents), path.name.removesuffix(".drv"), path.store_dir)

    async def closure(
        self, paths: Iterable[StorePath], *, include_outputs: bool = False
    ) -> frozenset[StorePath]:
        """The paths and all that they refer to.

        Args:
            paths: where to begin.
            include_outputs: whether the valid outputs of derivations count as well.

        Raises:
            Unanswered: one of them is not valid.
        """

        async def below(path: StorePath) -> frozenset[StorePath]:
            found = (await self.info(path)).references
            if include_outputs and path.is_derivation:
                made = frozenset(filter(None, (await self.outputs(path)).values()))
                found |= await self._upstream.ask(QueryValidPaths(made))
            return found

        return await reached(paths, below)

    async def referrers(self, path: StorePath) -> frozenset[StorePath]:
        """The valid paths that refer to `path`."""
        return await self._upstream.ask(QueryReferrers(path))

    async def valid_derivers(self, path: StorePath) -> frozenset[StorePath]:
        """The valid derivations that have `path` as an output."""
        return await self._upstream.ask(QueryValidDerivers(path))

    async def referrers_closure(self, paths: Iterable[StorePath]) -> frozenset[StorePath]:
        """The paths and all that refers to them, however indirectly.

        Raises:
            Unanswered: one of them is not valid.
        """

        async def above(path: StorePath) -> frozenset[StorePath]:
            await self.info(path)
            return await self.referrers(path)

        return await reached(paths, above)

    async def kept_with(self, paths: Iterable[StorePath]) -> frozenset[StorePath]:
        """All whose being kept keeps one of `paths`: referrers, and outputs of derivations.

        Outputs keep their derivations unless a store is told otherwise (`keep-derivations`).

        Raises:
            Unanswered: one of them is not valid.
        """
        known: frozenset[StorePath] = frozenset()
        fringe = frozenset(paths)
        while fringe:
            fringe = await self.referrers_closure(fringe) - known
            known |= fringe
            made: set[StorePath] = set()
            for path in fringe:
                if path.is_derivation:
                    made |= set(filter(None, (await self.outputs(path)).values()))
            fringe = await self._upstream.ask(QueryValidPaths(frozenset(made - known)))
        return known

    async def in_order(self, paths: Iterable[StorePath]) -> list[StorePath]:
        """The paths, each behind those that it refers to, in the order of Nix's `topoSortPaths`.

        Paths that are not valid refer to nothing.
        """
        known = {path: await self.find(path) for path in sorted(set(paths))}
        return _sorted_by(known, lambda path: about.references if (about := known[path]) else ())


def _sorted_by(
    paths: Iterable[StorePath], below: Callable[[StorePath], Iterable[StorePath]]
) -> list[StorePath]:
    """Depth first, without recursion: graphs of packages are deeper than Python's stack."""
    every = set(paths)
    done: dict[StorePath, None] = {}
    entered: set[StorePath] = set()
    for first in paths:
        stack = [first]
        while stack:
            path = stack[-1]
            if path in done or path in entered:
                stack.pop()
                done.setdefault(path)
                continue
            entered.add(path)
            stack += sorted((every & set(below(path))) - entered, reverse=True)
    return list(done)
