"""Passing uploads on to the nix-daemon: small paths together, larger ones alone.

A question for each small path costs more than the path.  While the daemon takes one batch in, the
next is read from the client.  A batch that the daemon refuses is sent once more path by path: the
error is then that of one path, and daemons before 2.10 lose their place in a batch at a path that
they have by then (`LocalStore::addToStore` left its NAR unread), as when two boards send the same.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.worker import multiple
from protocol.worker.messages import AddMultipleToStore, AddToStoreNar, QueryValidPaths
from shim.daemon.clients.ends import Listen
from shim.daemon.clients.lane import Lane
from shim.daemon.nix.upstream import DaemonRefused

SMALL: Final = 1 << 15
"""Bytes of a NAR that is small."""

BATCH: Final = 1 << 16
"""Bytes after which a batch is sent.  Two are held: one under way, one that grows."""

MAX_KNOWN: Final = 10_000
"""Paths that are remembered to be in the store."""


@dataclass(frozen=True, slots=True)
class _Small:
    path: StorePath
    info: PathInfo
    head: bytes
    """What stands before the NAR in a batch."""
    nar: bytes


@dataclass(slots=True)
class Batches:
    """What one upload passes on.  After `Malformed` or the end of a session nothing is settled."""

    lane: Lane
    listen: Listen
    _held: list[_Small] = field(default_factory=list)
    _held_size: int = 0
    _sent: list[_Small] = field(default_factory=list)
    _answer: Callable[[], None] | None = None
    _known: set[StorePath] = field(default_factory=set)
    """Paths that are in the store once all that is held has gone on."""

    def add(self, path: StorePath, info: PathInfo, nar: Iterator[bytes]) -> None:
        """Pass a path on, now or with those that follow.

        Raises:
            DaemonRefused: this path, or one before it, was refused.
            ClientGone, RemoteProtocolError, DaemonLost: as they say.
        """
        if info.nar_size > SMALL or not AddMultipleToStore.operation.exists(
            self.lane.upstream.connection.dialect
        ):
            self.finish()
            self.pass_alone(path, info, nar)
        else:
            each = _Small(path, info, multiple.info(path, info), b"".join(nar))
            self._held.append(each)
            self._held_size += len(each.head) + len(each.nar)
            if self._held_size >= BATCH:
                self._send()
        self._know({path})

    def pass_alone(self, path: StorePath, info: PathInfo, nar: Iterator[bytes]) -> None:
        """Pass a path on by a request of its own.

        Raises:
            DaemonRefused, ClientGone, RemoteProtocolError, DaemonLost: as `add`.
        """
        self.lane.ask(AddToStoreNar(path, info, dont_check_signatures=True), self.listen, nar)

    def has(self, paths: frozenset[StorePath]) -> bool:
        """Whether all of these are in the store, once what was added is.

        Raises:
            DaemonRefused, ClientGone, RemoteProtocolError, DaemonLost: as `add`.
        """
        unknown = paths - self._known
        if not unknown:
            return True
        self.finish()
        valid = self.lane.ask(QueryValidPaths(unknown, substitute=True), self.listen)
        self._know(valid)
        return unknown <= valid

    def finish(self) -> None:
        """Pass on what is held, and await what the daemon says of it.

        Raises:
            DaemonRefused, ClientGone, RemoteProtocolError, DaemonLost: as `add`.
        """
        if self._held:
            self._send()
        self._settle()

    def _know(self, paths: Iterable[StorePath]) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.update(paths)

    def _send(self) -> None:
        self._settle()
        self._sent, self._held, self._held_size = self._held, [], 0
        items = (each.head + each.nar for each in self._sent)
        body = multiple.count(len(self._sent)) + b"".join(items)
        request = AddMultipleToStore(dont_check_signatures=True)
        self._answer = self.lane.begin(request, self.listen, iter([body]))

    def _settle(self) -> None:
        """Await the answer to the batch that is under way."""
        answer, self._answer = self._answer, None
        sent, self._sent = self._sent, []
        if answer is None:
            return
        try:
            answer()
        except DaemonRefused:
            for each in sent:
                self.pass_alone(each.path, each.info, iter([each.nar]))
