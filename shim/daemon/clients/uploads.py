"""Taking in what a peer sends: every path is judged before a byte of it reaches the nix-daemon.

What `shim.session.uploads` says is carried out here.  Bodies are streamed: of large paths at most
one piece of a NAR is held.  Some paths of `AddMultipleToStore` may be dropped although their number
stands first, so what remains goes on in batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from protocol.errors import RemoteProtocolError
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import PublicKey
from protocol.worker.messages import AddToStoreNar
from protocol.worker.multiple import Event, Item, MultipleReader, NarData, NarEnd
from shim.config import Uploads
from shim.daemon.clients.batches import Batches
from shim.daemon.clients.ends import Listen
from shim.daemon.clients.lane import Lane
from shim.errors import ExitCode, ShimError
from shim.session.uploads import Fate, UploadRefused, judge

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
        batches = Batches(lane, listen)
        body = lane.body()
        if self._lets_in(request.path, request.info, batches):
            batches.pass_alone(request.path, _believed(request.info), body)
        for _ in body:
            pass  # what nobody took has to be read all the same

    def take_many(self, lane: Lane, listen: Listen) -> None:
        """Carry out `AddMultipleToStore`; the answer is the caller's.

        Raises:
            UploadRefused: a path is not let in; those before it are imported.
            Malformed: the body is none; the nix-daemon may wait for the rest of a NAR, and have
                answers left.
            ClientGone, RemoteProtocolError, DaemonRefused, DaemonLost: as they say.
        """
        batches = Batches(lane, listen)
        events = self._events(lane.body())
        try:
            for event in events:
                if isinstance(event, Item):
                    nar = _nar(events)
                    if self._lets_in(event.path, event.info, batches):
                        batches.add(event.path, _believed(event.info), nar)
                    for _ in nar:
                        pass  # what nobody took has to be read all the same
        except UploadRefused:
            batches.finish()
            raise
        batches.finish()

    def _lets_in(self, path: StorePath, info: PathInfo, batches: Batches) -> bool:
        fate = judge(path, info, self.unsigned, self.keys, self.store_dir)
        lets_in = fate is Fate.IMPORT
        if lets_in and self.unsigned is not Uploads.ACCEPT:
            # The store takes nothing whose references it lacks, and some may have been dropped.
            lets_in = batches.has(info.references - {path})
        if lets_in:
            self.dropped.discard(path)
            return True
        log.info("upload-dropped", path=path)
        if len(self.dropped) < MAX_DROPPED:
            self.dropped.add(path)
        return False

    def _events(self, body: Iterator[bytes]) -> Iterator[Event]:
        reader = MultipleReader(self.store_dir)
        for data in body:
            yield from _feed(reader, data)
        _end(reader)


def _believed(info: PathInfo) -> PathInfo:
    """What is said of a path that is let in."""
    # `ultimate` says that this store built it, so that its signatures are never asked for.
    return replace(info, ultimate=False)


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
