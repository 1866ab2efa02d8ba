"""Both ends of a serve connection as values: bytes in, events and bytes out.  Does no I/O.

    client: magic 0x390c9deb, version     server: magic 0x5452eecb, version    (each at once)
    client: number of a command, fields, body          server: reply, body

The lower version counts.  Nothing frames a reply and nothing announces a failure: a server that
cannot answer closes the connection (`ServerConnection.fail`), and clients see `PeerClosed`.
`protocol.wire.machine` says how an end is driven.
Checked against Nix's `ServeProto::BasicClientConnection`, `BasicServerConnection`, `opServe`.
"""

from typing import Any, Final

from protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError, inside
from protocol.limits import MAX_HANDSHAKE, MAX_REPLY, MAX_REQUEST
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
from protocol.wire.codec import number, to_text
from protocol.wire.machine import Machine
from protocol.wire.operation import Body, Operation, Request
from protocol.wire.source import WORD, Source

CLIENT_MAGIC: Final = 0x390C9DEB
SERVER_MAGIC: Final = 0x5452EECB

_word: Final = number(0xFFFF_FFFF)
"""What Nix reads as 32 bits: versions and numbers of commands."""

_BANNER: Final = 400
"""Bytes of something else than a greeting that are repeated to the user."""


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


class ServerConnection(Machine[ServerEvent]):
    """We serve: `nix-store --serve` towards a client."""

    def __init__(
        self,
        store_dir: str = STORE_DIR,
        newest: Number = NEWEST,
        max_request: int = MAX_REQUEST,
    ) -> None:
        """Be the server of one client.

        Args:
            store_dir: where the paths lie that both talk about.
            newest: the version to offer.
            max_request: bytes of a request, without its body, that are held.
        """
        super().__init__(self._read_magic, MAX_HANDSHAKE, PeerClosed())
        self._draft = Dialect(newest, store_dir=store_dir)
        self._max_request = max_request
        self._operation: Operation | None = None
        self._body: bodies.Body | None = None
        self._replying = False

    # -- what the client says

    def _read_magic(self) -> None:
        if (magic := self._source.u64()) != CLIENT_MAGIC:
            raise RemoteProtocolError(f"no client of the serve protocol: it begins with {magic:#x}")
        self._out.append(WORD.pack(SERVER_MAGIC) + WORD.pack(self._draft.number.word))
        self._step = self._read_version

    def _read_version(self) -> ServerEvent:
        self._dialect = _agree(self._draft, self._source)
        self._idle()
        return Greeted(self._dialect)

    def _idle(self) -> None:
        self._operation = None
        self._replying = False
        self._source.begin(self._max_request)
        self._step = self._read_code

    def _read_code(self) -> None:
        operation = REGISTRY.find(_word.get(self._source, self.dialect), self.dialect)
        self._step = lambda: self._read_request(operation)

    def _read_request(self, operation: Operation) -> ServerEvent:
        request = operation.read_request(self._source, self.dialect)
        self._operation = operation
        self._step = self.waiting
        if isinstance(request, AddToStoreNar):
            with inside(operation.name):
                _check_size(request, RemoteProtocolError)
            self._body = SizedBody(request.nar_size)
        elif operation.body is not Body.NONE:
            self._body = _body_reader(operation.body)
        if self._body is not None:
            self._source.begin(None)
            self._step = self._read_body
        return Asked(request, operation)

    def _read_body(self) -> ServerEvent | None:
        assert self._body is not None
        data = self._body.read(self._source)
        if self._body.finished:
            self._step = self._end_body
        return BodyData(data) if data else None

    def _end_body(self) -> ServerEvent:
        self._body = None
        self._step = self.waiting
        return BodyEnd()

    def may_end(self) -> bool:
        """Whether the client may leave: between commands, or to cancel the one under way."""
        return super().may_end() and self._body is None

    # -- what we say

    def reply(self, value: Any) -> bytes:
        """Answer the command; if its reply has a body, `reply_body` goes on.

        Raises:
            LocalProtocolError: no command waits for an answer, or the value is not of its type.
        """
        operation = self._operation
        self._expect_turn(
            operation is not None and self._body is None and not self._replying, "reply"
        )
        assert operation is not None
        with inside(operation.name):
            data = operation.reply.put(value, self.dialect)
        if operation.reply_body is Body.NONE:
            self._idle()
        else:
            self._replying = True
        return self.to_send() + data

    def reply_body(self, data: bytes) -> bytes:
        """Send some of the reply's body."""
        self._expect_turn(self._replying, "send a reply's body")
        return data

    def reply_body_end(self) -> bytes:
        """Say that the reply's body is complete; its own grammar tells the client."""
        self._expect_turn(self._replying, "end a reply's body")
        self._idle()
        return b""

    def fail(self) -> bytes:
        """Give up: the protocol has no errors.  Say why on standard error, then close."""
        self.must_close = True
        self._step = self.waiting
        self._operation = self._body = None
        return self.to_send()


class ClientConnection(Machine[ClientEvent]):
    """We ask: towards a `nix-store --serve`."""

    def __init__(
        self, store_dir: str = STORE_DIR, newest: Number = NEWEST, max_reply: int = MAX_REPLY
    ) -> None:
        """Be the client of one server.

        Args:
            store_dir: where the paths lie that both talk about.
            newest: the version to offer.
            max_reply: bytes of a reply, without its body, that are held.
        """
        super().__init__(self._read_magic, MAX_HANDSHAKE, PeerClosed())
        self._draft = Dialect(newest, store_dir=store_dir)
        self._max_reply = max_reply
        self._operation: Operation | None = None
        self._reply_body: bodies.Body | None = None
        self._sending = False
        self._left: int | None = None

    # -- what the server says

    def _read_magic(self) -> None:
        if self._source.peek() != SERVER_MAGIC:
            said = to_text(self._source.take_some(_BANNER)).rstrip("\0")
            raise RemoteProtocolError(f"no server of the serve protocol: it says `{said}`")
        self._source.u64()
        self._step = self._read_version

    def _read_version(self) -> ClientEvent:
        self._dialect = _agree(self._draft, self._source)
        self._step = self.waiting
        return Greeted(self._dialect)

    def _read_reply(self) -> ClientEvent:
        operation = self._operation
        assert operation is not None
        if operation.reply_body is not Body.NONE:
            # Nothing but the first byte of the body tells that the command succeeded.
            self._source.peek()
        value = operation.read_reply(self._source, self.dialect)
        if operation.reply_body is Body.NONE:
            self._operation = None
            self._step = self.waiting
        else:
            self._reply_body = _body_reader(operation.reply_body)
            self._source.begin(None)
            self._step = self._read_body
        return Replied(value)

    def _read_body(self) -> ClientEvent | None:
        assert self._reply_body is not None
        data = self._reply_body.read(self._source)
        if self._reply_body.finished:
            self._step = self._end_body
        return ReplyData(data) if data else None

    def _end_body(self) -> ClientEvent:
        self._operation = self._reply_body = None
        self._step = self.waiting
        return ReplyEnd()

    def may_end(self) -> bool:
        """Whether the server may leave: between replies, or because the command failed."""
        return super().may_end() and self._reply_body is None

    # -- what we say

    def hello(self) -> bytes:
        """What a client says first; the answer need not be waited for."""
        return WORD.pack(CLIENT_MAGIC) + WORD.pack(self._draft.number.word)

    def ask(self, request: Request[Any]) -> bytes:
        """Send a command; its body, if it has one, follows with `body`.

        Raises:
            LocalProtocolError: another one is not answered yet, the server does not know it, or a
                field is not of its type.
            RemoteProtocolError: the answer to the one before had bytes too many.
        """
        self._expect_turn(self._dialect is not None and self._operation is None, "ask")
        if left := len(self._source):
            self._break(RemoteProtocolError(f"{left} bytes are left over behind the last reply"))
        operation = request.operation
        if not operation.exists(self.dialect):
            raise LocalProtocolError(f"{operation.name} does not exist in {self.dialect}")
        with inside(operation.name):
            if isinstance(request, AddToStoreNar):
                _check_size(request, LocalProtocolError)
            data = operation.layout.put(request, self.dialect)
        self._operation = operation
        self._left = request.nar_size if isinstance(request, AddToStoreNar) else None
        self._sending = operation.body is not Body.NONE
        if not self._sending:
            self._listen()
        return WORD.pack(operation.code) + data

    def body(self, data: bytes) -> bytes:
        """Send some of the request's body.

        Raises:
            LocalProtocolError: the request has none, or announced a smaller one.
        """
        self._expect_turn(self._sending, "send a body")
        if self._left is not None:
            if len(data) > self._left:
                raise LocalProtocolError("the NAR is larger than was announced")
            self._left -= len(data)
        return data

    def body_end(self) -> bytes:
        """Say that the request's body is complete; its size or grammar tells the server.

        Raises:
            LocalProtocolError: it is smaller than announced: there is no way out but to close.
        """
        self._expect_turn(self._sending, "end a body")
        if self._left:
            raise LocalProtocolError(f"the NAR is {self._left} bytes smaller than announced")
        self._sending = False
        self._listen()
        return b""

    def _listen(self) -> None:
        self._source.begin(self._max_reply)
        self._step = self._read_reply


def _agree(draft: Dialect, source: Source) -> Dialect:
    theirs = Number.from_word(_word.get(source, draft))
    return Dialect(negotiate(draft.number, theirs), store_dir=draft.store_dir)


def _body_reader(kind: Body) -> bodies.Body:
    return bodies.ExportBody() if kind is Body.EXPORT else bodies.NarBody()


def _check_size(request: AddToStoreNar, error: type[ProtocolError]) -> None:
    if not request.nar_size:
        raise error("a NAR cannot have a size of 0 bytes")
