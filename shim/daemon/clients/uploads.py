"""Taking in what a peer sends: every path is judged before a byte of it reaches the nix-daemon.

What `shim.session.uploads` says is carried out here.  Bodies are streamed: at most one piece of a
NAR is held.  Of `AddMultipleToStore` each path goes on alone: some may be dropped although their
number stands first, and daemons before 2.10 lose their place in such a body at a path that they
have by then (`LocalStore::addToStore` left its NAR unread), as when two boards send the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from protocol.errors import RemoteProtocolError
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import PublicKey
from protocol.worker.messages import AddToStoreNar, QueryValidPaths
from protocol.worker.multiple import Event, Item, MultipleReader, NarData, NarEnd
from shim.config import Uploads
from shim.daemon.clients.ends import Listen
from shim.daemon.clients.lane import Lane
from shim.errors import ExitCode, ShimError
from shim.session.uploads import Fate, judge

log = structlog.get_logger()

MAX_DROPPED: Final = 1_000_000
"""Dropped paths that one session remembers, to say which of them a build would have needed."""


class Malformed(ShimError):
    """The body of an upload is not what its operation has."""

    def __init__(self, error: RemoteProtocolError) -> None:
        super().__init__(f"the upload is malformed: {error}", code=ExitCode.DATA)


@dataclass(slots=True)
class Intake:
    """The uploads of one session."""

    unsigned: Uploads
    keys: tuple[PublicKey, ...]
    store_dir: str
    dropped: set[StorePath] = field(default_factory=set)
    """What was taken off the wire and not imported."""

    def take_one(self, request: AddToStoreNar, lane: Lane, listen: Listen) -> None:
        """Carry out `AddToStoreNar`; the answer is the caller's.

        Raises:
            UploadRefused: the path is not let in; nothing was passed on.
            ClientGone, RemoteProtocolError, DaemonRefused, DaemonLost: as they say.
        """
        body = lane.body()
        self._pass(request.path, request.info, body, lane, listen)
        for _ in body:
            pass  # what nobody took has to be read all the same

    def take_many(self, lane: Lane, listen: Listen) -> None:
        """Carry out `AddMultipleToStore`; the answer is the caller's.

        Raises:
            UploadRefused: a path is not let in; those before it are imported.
            Malformed: the body is none; the nix-daemon may wait for the rest of a NAR.
            ClientGone, RemoteProtocolError, DaemonRefused, DaemonLost: as they say.
        """
        events = self._events(lane.body())
        for event in events:
            if isinstance(event, Item):
                nar = _nar(events)
                self._pass(event.path, event.info, nar, lane, listen)
                for _ in nar:
                    pass  # what nobody took has to be read all the same

    def _pass(
        self, path: StorePath, info: PathInfo, nar: Iterator[bytes], lane: Lane, listen: Listen
    ) -> None:
        if self._fate(path, info, lane, listen) is Fate.DROP:
            log.info("upload-dropped", path=path)
            if len(self.dropped) < MAX_DROPPED:
                self.dropped.add(path)
            return
        # `ultimate` says that this store built it, so that its signatures are never asked for.
        lane.ask(
            AddToStoreNar(path, replace(info, ultimate=False), dont_check_signatures=True),
            listen,
            nar,
        )
        self.dropped.discard(path)

    def _fate(self, path: StorePath, info: PathInfo, lane: Lane, listen: Listen) -> Fate:
        fate = judge(path, info, self.unsigned, self.keys, self.store_dir)
        others = info.references - {path}
        if self.unsigned is Uploads.ACCEPT or fate is Fate.DROP or not others:
            return fate
        # The store takes nothing whose references it lacks, and some may have been dropped.
        valid = lane.ask(QueryValidPaths(others, substitute=True), listen)
        return Fate.IMPORT if others <= valid else Fate.DROP

    def _events(self, body: Iterator[bytes]) -> Iterator[Event]:
        reader = MultipleReader(self.store_dir)
        for data in body:
            yield from _feed(reader, data)
        _end(reader)


def _nar(events: Iterator[Event]) -> Iterator[bytes]:
    """The pieces of the NAR that `events` are about to tell of."""
    for event in events:
        match event:
            case NarData(data):
                yield data
            case NarEnd():
                return
            case _:
                raise AssertionError(f"{event} within a NAR")


def _feed(reader: MultipleReader, data: bytes) -> list[Event]:
    try:
        return reader.feed(data)
    except RemoteProtocolError as error:
        raise Malformed(error) from error


def _end(reader: MultipleReader) -> None:
    try:
        reader.end()
    except RemoteProtocolError as error:
        raise Malformed(error) from error
