"""Both ends of a serve connection as values: bytes in, events and bytes out.  Does no I/O.

    client: magic 0x390c9deb, version     server: magic 0x5452eecb, version    (each at once)
    client: number of a command, fields, body          server: reply, body

The lower version counts.  Nothing frames a reply and nothing announces a failure: a server that
cannot answer closes the connection (`ServerConnection.fail`), and clients see `PeerClosed`.

Whichever end we are, a broken rule of the other one raises `RemoteProtocolError` and the connection
is of no use from then on; a call that is not our turn raises `LocalProtocolError`.
Checked against Nix's `ServeProto::BasicClientConnection`, `BasicServerConnection`, `opServe`.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

from protocol import limits
from protocol.errors import (
    LimitExceeded,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    inside,
)
from protocol.serve.events import (
    Asked,
    BodyData,
    BodyEnd,
    ClientEvent,
    Greeted,
    PeerClosed,
    Replied,
    ReplyData,
    ReplyEnd,
    ServerEvent,
)
from protocol.serve.messages import REGISTRY, AddToStoreNar
from protocol.serve.values import NEWEST
from protocol.store.path import STORE_DIR
from protocol.version import Dialect, Number, negotiate
from protocol.wire import bodies
from protocol.wire.codec import number, to_text, u64
from protocol.wire.operation import Body, Operation, Request
from protocol.wire.source import Source, Underrun

CLIENT_MAGIC: Final = 0x390C9DEB
SERVER_MAGIC: Final = 0x5452EECB

_word: Final = number(0xFFFF_FFFF)
"""What Nix reads as 32 bits: versions and numbers of commands."""

_SHOWN: Final = 400
"""Bytes of something else than a greeting that are repeated to the user."""

E = TypeVar("E")
R = TypeVar("R")


class State(Enum):
    """Whose turn it is, seen from either end."""

    GREETING = auto()
    IDLE = auto()
    REQUEST_BODY = auto()
    ANSWERING = auto()
    REPLY_BODY = auto()
    CLOSED = auto()


class SizedBody:
    """A body of a known length, whatever its bytes are; see `protocol.wire.bodies.Body`."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.finished = size == 0

    def read(self, source: Source) -> bytes:
        """Take what is there; see `protocol.wire.bodies.Body.read`."""
        data = source.take_some(self.left)
        self.left -= len(data)
        self.finished = self.left == 0
        return data


def _body_reader(kind: Body) -> bodies.Body:
    return bodies.ExportBody() if kind is Body.EXPORT else bodies.NarBody()


class _Connection(Generic[E]):
    """What both ends share: the buffer, the states and the end of the stream."""

    _idle_limit: int
    """What is accepted between two commands."""

    def __init__(self, store_dir: str, newest: Number) -> None:
        self.state = State.GREETING
        self.newest = newest
        self._dialect: Dialect | None = None
        self._store_dir = store_dir
        self._source = Source()
        self._source.begin(limits.MAX_HANDSHAKE)
        self._greeted = False
        self._operation: Operation | None = None
        self._body: bodies.Body = SizedBody(0)
        self._ended = False
        self._steps: dict[State, Callable[[], E | None]] = {}

    @property
    def dialect(self) -> Dialect:
        """What was agreed on.

        Raises:
            LocalProtocolError: nothing yet.
        """
        if self._dialect is None:
            raise LocalProtocolError("the handshake is not over")
        return self._dialect

    @property
    def is_closed(self) -> bool:
        """Whether the peer closed its end, or an end of the connection gave up."""
        return self._ended or self.state is State.CLOSED

    def receive(self, data: bytes) -> None:
        """Take bytes that arrived; none mean that the peer closed its end.

        Raises:
            LimitExceeded: it sent more ahead of its turn than is kept.
        """
        if not data:
            self._ended = True
            return
        self._source.feed(data)
        if self.state not in self._steps and len(self._source) > limits.MAX_AHEAD:
            self.state = State.CLOSED
            raise LimitExceeded(
                f"{len(self._source)} bytes came ahead of their turn, at most "
                f"{limits.MAX_AHEAD} are kept"
            )

    def next_event(self) -> E | PeerClosed | None:
        """The next thing the peer did; None until more bytes arrive, or until it is its turn.

        Raises:
            RemoteProtocolError: it broke the protocol.
        """
        if self.state is State.CLOSED:
            return None
        try:
            while (step := self._steps.get(self.state)) is not None:
                if (event := step()) is not None:
                    return event
        except Underrun as underrun:
            if self._ended:
                return self._closed(underrun)
            return None
        except ProtocolError:
            self.state = State.CLOSED
            raise
        if not self._ended:
            return None
        self.state = State.CLOSED
        return PeerClosed()

    def _closed(self, underrun: Underrun) -> PeerClosed:
        state, self.state = self.state, State.CLOSED
        if self._source.inside or state in (State.REQUEST_BODY, State.REPLY_BODY):
            error = RemoteProtocolError(f"the connection was closed too early: {underrun}")
            error.path = underrun.path
            raise error
        return PeerClosed()

    def _take_turn(self, *states: State) -> None:
        if self.state not in states:
            allowed = " or ".join(state.name for state in states)
            raise LocalProtocolError(f"only possible while {allowed}, not while {self.state.name}")

    def _agree(self, theirs: int) -> Greeted:
        agreed = negotiate(self.newest, Number.from_word(theirs))
        self._dialect = Dialect(agreed, store_dir=self._store_dir)
        self._idle()
        return Greeted(self._dialect)

    def _idle(self) -> None:
        self.state = State.IDLE
        self._operation = None
        self._source.begin(self._idle_limit)

    def _piece(self, piece: Callable[[bytes], E], end: Callable[[], E], after: State) -> E | None:
        """One step through a body: what is there of it, then its end."""
        if self._body.finished:
            if after is State.IDLE:
                self._idle()
            self.state = after
            return end()
        data = self._body.read(self._source)
        return piece(data) if data else None


class ServerConnection(_Connection[ServerEvent]):
    """We serve: `nix-store --serve` towards a client."""

    _idle_limit = limits.MAX_REQUEST

    def __init__(self, store_dir: str = STORE_DIR, newest: Number = NEWEST) -> None:
        super().__init__(store_dir, newest)
        self._outgoing = b""
        self._steps = {
            State.GREETING: self._greeting,
            State.IDLE: self._request,
            State.REQUEST_BODY: self._request_body,
        }

    def to_send(self) -> bytes:
        """What the connection itself has to say: our greeting, once the client's has begun."""
        data, self._outgoing = self._outgoing, b""
        return data

    def reply(self, value: Any) -> bytes:
        """Answer the command; its reply's body follows, if it has one.

        Raises:
            LocalProtocolError: no command waits for an answer, or the value is not of its type.
        """
        self._take_turn(State.ANSWERING)
        assert self._operation is not None
        has_body = self._operation.reply_body is not Body.NONE
        with inside(self._operation.name):
            data = self._operation.reply.put(value, self.dialect)
        if has_body:
            self.state = State.REPLY_BODY
        else:
            self._idle()
        return data

    def reply_body(self, data: bytes) -> bytes:
        """Send some of the reply's body."""
        self._take_turn(State.REPLY_BODY)
        return data

    def reply_body_end(self) -> bytes:
        """Say that the reply's body is complete; its own grammar tells the client."""
        self._take_turn(State.REPLY_BODY)
        self._idle()
        return b""

    def fail(self) -> bytes:
        """Give up: the protocol has no errors.  Say why on standard error, then close."""
        self.state = State.CLOSED
        return b""

    def _greeting(self) -> ServerEvent:
        if not self._greeted:
            if (magic := self._source.u64()) != CLIENT_MAGIC:
                raise RemoteProtocolError(
                    f"not a client of this protocol: it sent {magic:#x} first"
                )
            self._greeted = True
            self._outgoing = _numbers(SERVER_MAGIC, self.newest.word)
        return self._agree(_word.get(self._source, _NO_DIALECT))

    def _request(self) -> ServerEvent:
        if self._operation is None:
            code = _word.get(self._source, self.dialect)
            self._operation = REGISTRY.find(code, self.dialect)
        row = self._operation
        with inside(row.name):
            request = row.layout.get(self._source, self.dialect)
            if isinstance(request, AddToStoreNar):
                _check_size(request, RemoteProtocolError)
        if row.body is not Body.NONE:
            self._body = _body_of(request, row.body)
        self.state = State.ANSWERING if row.body is Body.NONE else State.REQUEST_BODY
        return Asked(request, row)

    def _request_body(self) -> ServerEvent | None:
        return self._piece(BodyData, BodyEnd, State.ANSWERING)


class ClientConnection(_Connection[ClientEvent]):
    """We ask: towards a `nix-store --serve`."""

    _idle_limit = limits.MAX_REPLY

    def __init__(self, store_dir: str = STORE_DIR, newest: Number = NEWEST) -> None:
        super().__init__(store_dir, newest)
        self._left: int | None = None
        self._steps = {
            State.GREETING: self._greeting,
            State.ANSWERING: self._reply,
            State.REPLY_BODY: self._reply_body,
        }

    def hello(self) -> bytes:
        """What a client says first; the answer need not be waited for."""
        return _numbers(CLIENT_MAGIC, self.newest.word)

    def ask(self, request: Request[Any]) -> bytes:
        """Send a command; its body follows, if it has one.

        Raises:
            LocalProtocolError: another one is not answered yet, the server does not know it, or a
                field is not of its type.
            RemoteProtocolError: the answer to the one before had bytes too many.
        """
        self._take_turn(State.IDLE)
        if left := len(self._source):
            self.state = State.CLOSED
            raise RemoteProtocolError(f"{left} bytes are left over behind the last reply")
        row = request.operation
        if not row.exists(self.dialect):
            raise LocalProtocolError(f"a server of {self.dialect} knows no {row.name}")
        with inside(row.name):
            if isinstance(request, AddToStoreNar):
                _check_size(request, LocalProtocolError)
                self._left = request.nar_size
            data = _word.put(row.code, self.dialect) + row.layout.put(request, self.dialect)
        self._operation = row
        self.state = State.ANSWERING if row.body is Body.NONE else State.REQUEST_BODY
        return data

    def body(self, data: bytes) -> bytes:
        """Send some of the request's body.

        Raises:
            LocalProtocolError: the request has none, or announced a smaller one.
        """
        self._take_turn(State.REQUEST_BODY)
        if self._left is not None:
            if len(data) > self._left:
                raise LocalProtocolError("the NAR is larger than its announced size")
            self._left -= len(data)
        return data

    def body_end(self) -> bytes:
        """Say that the request's body is complete; its size or grammar tells the server.

        Raises:
            LocalProtocolError: it is smaller than announced: there is no way but to close.
        """
        self._take_turn(State.REQUEST_BODY)
        if self._left:
            raise LocalProtocolError(f"the NAR is {self._left} bytes smaller than announced")
        self._left = None
        self.state = State.ANSWERING
        return b""

    def _greeting(self) -> ClientEvent:
        source = self._source
        if not self._greeted:
            if source.u64() != SERVER_MAGIC:
                source.untake(8)
                shown = to_text(source.take_some(_SHOWN))
                raise RemoteProtocolError(f"instead of a server's greeting came `{shown}`")
            self._greeted = True
        return self._agree(_word.get(source, _NO_DIALECT))

    def _reply(self) -> ClientEvent:
        row = self._operation
        assert row is not None
        if row.reply_body is not Body.NONE:
            # Nothing but the body tells that the command succeeded.
            self._source.peek()
        with inside(row.name):
            value = row.reply.get(self._source, self.dialect)
        if row.reply_body is Body.NONE:
            self._idle()
        else:
            self._body = _body_reader(row.reply_body)
            self.state = State.REPLY_BODY
        return Replied(value)

    def _reply_body(self) -> ClientEvent | None:
        return self._piece(ReplyData, ReplyEnd, State.IDLE)


_NO_DIALECT: Final = Dialect(NEWEST)
"""For what comes before anything is agreed on; numbers look the same in every dialect."""


def _numbers(*values: int) -> bytes:
    return b"".join(u64.put(value, _NO_DIALECT) for value in values)


def _body_of(request: Request[Any], kind: Body) -> bodies.Body:
    if isinstance(request, AddToStoreNar):
        return SizedBody(request.nar_size)
    return _body_reader(kind)


def _check_size(request: AddToStoreNar, error: type[ProtocolError]) -> None:
    if not request.nar_size:
        raise error("a NAR cannot have a size of 0 bytes")
