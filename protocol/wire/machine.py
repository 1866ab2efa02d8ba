"""The part of a connection that is the same for every role and protocol: bytes in, events out.

A subclass has one *step* at a time: a method that reads the next value from the source, makes the
step that follows it the current one, and returns an event, or None when there is nothing to tell.
A step that lacks bytes raises `Underrun` and is called again later; `waiting` is the step for "it
is our turn to speak".
"""

from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

from protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from protocol.limits import MAX_AHEAD
from protocol.version import Dialect
from protocol.wire.source import Source, Underrun

E = TypeVar("E")


class Machine(Generic[E]):
    """One end of a connection, without the connection."""

    def __init__(self, first: Callable[[], E | None], limit: int, closed: E) -> None:
        """Begin.

        Args:
            first: the first step.
            limit: of the first value, in bytes.
            closed: the event for a peer that ends the connection where it may.
        """
        self._source = Source()
        self._source.begin(limit)
        self._step = first
        self._closed = closed
        self._hungry = True
        self._out: list[bytes] = []
        self._broken: ProtocolError | None = None
        self._dialect: Dialect | None = None
        self.is_closed = False
        """Whether the peer has said that it will send no more."""
        self.must_close = False
        """Whether the connection is of no more use once what is to be sent has been sent."""

    @property
    def dialect(self) -> Dialect:
        """What was agreed on.

        Raises:
            LocalProtocolError: nothing yet.
        """
        if self._dialect is None:
            raise LocalProtocolError("the handshake is not over")
        return self._dialect

    def receive(self, data: bytes) -> None:
        """Take bytes as they came; none at all for the end of the connection.

        Raises:
            RemoteProtocolError: the peer sends much although it is not its turn.
        """
        if not data:
            self.is_closed = True
            return
        if not self._hungry and len(self._source) > MAX_AHEAD:
            self._break(RemoteProtocolError(f"more than {MAX_AHEAD} bytes were sent out of turn"))
        self._source.feed(data)

    @property
    def ahead(self) -> int:
        """Bytes that were received and have not been read."""
        return len(self._source)

    def next_event(self) -> E | None:
        """What has happened next; None when that takes more bytes, or an act of ours.

        Raises:
            RemoteProtocolError: the peer broke the protocol; so does every later call.
        """
        if self._broken is not None:
            raise self._broken
        if self._source.starved and not self.is_closed:
            return None
        try:
            while (event := self._step()) is None:
                pass
        except Underrun as underrun:
            self._hungry = self._step != self.waiting
            if not self.is_closed:
                return None
            if not self.may_end():
                self._end(underrun)
            return self._closed
        except RemoteProtocolError as error:
            self._break(error)
        else:
            self._hungry = False
            return event

    def to_send(self) -> bytes:
        """What the connection has to say by itself; to be sent before anything else."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def unread(self) -> bytes:
        """Give back what was received and has not been read, for another to read it."""
        data = self._source.take_all()
        self._hungry = True
        return data

    def waiting(self) -> E | None:
        """Step: nothing of the peer's is read now."""
        raise Underrun(1)

    def may_end(self) -> bool:
        """Whether the peer may end the connection at the current step."""
        return self._step == self.waiting or not self._source.inside

    def last_words(self, error: RemoteProtocolError) -> bytes:
        """What a peer that broke the protocol is told."""
        del error
        return b""

    def _end(self, underrun: Underrun) -> NoReturn:
        error = RemoteProtocolError("the connection ended in the middle of a value")
        error.path = underrun.path
        self._break(error)

    def _break(self, error: RemoteProtocolError) -> NoReturn:
        self._broken = error
        self._out.append(self.last_words(error))
        self.must_close = True
        raise error

    def _expect_turn(self, allowed: bool, act: str) -> None:
        if not allowed:
            raise LocalProtocolError(f"it is not the time to {act}")
