"""The daemon's end of a worker connection.  Decides nothing: it is told what to answer.

    greeting -> welcome -> { request -> body -> log messages -> answer -> reply's body }

Bodies are the same for its user whatever the version: `BodyData` until `BodyEnd`.  Where they have
to be pulled, that happens with `next_event`; a request may then be answered without its body ever
having been asked for.  A request may fail before its body has ended: the rest is read and dropped.
"""

from collections.abc import Callable
from typing import Any, Final, Self

from protocol.errors import RemoteProtocolError
from protocol.limits import MAX_HANDSHAKE, MAX_MESSAGE, MAX_REQUEST
from protocol.store.path import STORE_DIR
from protocol.version import Dialect, Number, negotiate
from protocol.wire.bodies import Body as BodyReader
from protocol.wire.machine import Machine
from protocol.wire.operation import Body, Operation, Request
from protocol.wire.source import WORD, Source
from protocol.worker import forms, handshake, stderr
from protocol.worker.events import (
    Asked,
    BodyData,
    BodyEnd,
    Greeted,
    PeerClosed,
    ServerEvent,
)
from protocol.worker.forms import PULL, Form
from protocol.worker.handshake import ServerInfo, Trust
from protocol.worker.registry import REGISTRY
from protocol.worker.stderr import LogMessage, NixError, Read, Write
from protocol.worker.versions import NEWEST, OLDEST, minor

_LAST: Final = WORD.pack(stderr.LAST)

_HEARS_NAR_ERRORS: Final = minor(38)
"""Clients up to 2.22 overlook an error where they expect a NAR, and wait for one for ever."""


class ServerConnection(Machine[ServerEvent]):
    """See the module."""

    def __init__(
        self,
        store_dir: str = STORE_DIR,
        newest: Number = NEWEST,
        features: frozenset[str] = frozenset(),
        max_request: int = MAX_REQUEST,
    ) -> None:
        """Be a daemon of one client.

        Args:
            store_dir: where the paths lie that both talk about.
            newest: the version to offer.
            features: those to offer; without any, the newest clients speak the layouts of 2.24.
            max_request: bytes of a request, without its body, that are held.
        """
        super().__init__(self._read_magic, MAX_HANDSHAKE, PeerClosed())
        self._store_dir = store_dir
        self._newest = newest
        self._features = features
        self._max_request = max_request
        self._request: Request[Any] | None = None
        self._body: BodyReader | None = None
        self._replying: bytes | None = None
        self._open = False
        self._greeted = False

    @classmethod
    def between(cls, dialect: Dialect) -> Self:
        """A connection whose handshake others have seen through: it answers what it takes over."""
        self = cls(dialect.store_dir)
        self._dialect = dialect
        self._greeted = True
        self._idle()
        return self

    def take_over(self, asked: Asked) -> None:
        """Answer a request, one without a body, that was read elsewhere."""
        self._expect_turn(self._greeted and not self._open, "take over a request")
        self._request = asked.request
        self._open = True
        self._step = self.waiting

    # -- what the client says

    def _read_magic(self) -> None:
        magic = self._source.u64()
        if magic != handshake.CLIENT_MAGIC:
            raise RemoteProtocolError(
                f"no client of the worker protocol: it begins with {magic:#x}"
            )
        self._out.append(WORD.pack(handshake.SERVER_MAGIC) + WORD.pack(self._newest.word))
        self._step = self._read_version

    def _read_version(self) -> None:
        draft = Dialect(self._newest, store_dir=self._store_dir)
        theirs = handshake.version.get(self._source, draft)
        number = negotiate(self._newest, theirs)
        if number < OLDEST:
            raise RemoteProtocolError(f"the client's version {theirs} is below {OLDEST}")
        self._dialect = Dialect(number, store_dir=self._store_dir)
        self._step = self._read_preamble
        if number >= handshake.FEATURES_SINCE:
            self._step = self._read_features

    def _read_features(self) -> None:
        theirs = handshake.features.get(self._source, self.dialect)
        self._out.append(handshake.features.put(self._features, self.dialect))
        self._dialect = Dialect(self.dialect.number, theirs & self._features, self._store_dir)
        self._step = self._read_preamble

    def _read_preamble(self) -> ServerEvent:
        handshake.preamble.get(self._source, self.dialect)
        self._step = self.waiting
        return Greeted(self.dialect)

    def _read_code(self) -> None:
        operation = REGISTRY.find(self._source.u64(), self.dialect)
        self._step = lambda: self._read_request(operation)

    def _read_request(self, operation: Operation) -> ServerEvent:
        request = operation.read_request(self._source, self.dialect)
        self._request = request
        self._open = True
        self._step = self.waiting
        if operation.body is not Body.NONE:
            self._body = forms.reader(request, self.dialect)
            self._source.begin(None)
            pulled = forms.form(operation.body, self.dialect) is Form.PULLED
            self._step = self._pull if pulled else self._read_body
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

    def _pull(self) -> None:
        self._out.append(stderr.message.put(Read(PULL), self.dialect))
        self._source.begin(MAX_MESSAGE)
        self._step = self._read_piece

    def _read_piece(self) -> ServerEvent:
        assert self._body is not None
        inner = Source(self._take_piece())
        data = self._body.read(inner)
        if len(inner):
            raise RemoteProtocolError(f"{len(inner)} bytes were sent behind the end of the body")
        self._step = self._end_body if self._body.finished else self._pull
        return BodyData(data)

    def _take_piece(self) -> bytes:
        piece = forms.piece.get(self._source, self.dialect)
        if not piece:
            raise RemoteProtocolError("the body ends in its middle")
        return piece

    def _drop_body(self) -> None:
        assert self._body is not None
        self._body.read(self._source)
        if self._body.finished:
            self._idle()

    def _drop_piece(self) -> None:
        self._take_piece()
        self._idle()

    def _idle(self) -> None:
        self._body = None
        self._source.begin(self._max_request)
        self._step = self._read_code

    def may_end(self) -> bool:
        """Whether the client may leave: not within a value or a body."""
        return super().may_end() and self._body is None

    def last_words(self, error: RemoteProtocolError) -> bytes:
        """An error, where the client would read one; nothing within the handshake."""
        if not self._greeted or self._replying is not None:
            return b""
        return stderr.message.put(NixError(str(error)), self.dialect)

    # -- what we say

    @property
    def is_between(self) -> bool:
        """Whether the next byte of the client begins a request."""
        return self._greeted and self._step == self._read_code and not self._source.inside

    @property
    def pulls(self) -> bool:
        """Whether the body under way comes only if `next_event` asks for it."""
        return self._step in (self._pull, self._read_piece)

    def welcome(self, daemon_version: str, trust: Trust) -> bytes:
        """Answer the greeting: the client may ask now.

        Args:
            daemon_version: of Nix, as clients show it.
            trust: selects how clients since 2.16 ask for builds.
        """
        self._expect_turn(not self._greeted and self._step == self.waiting, "welcome")
        self._greeted = True
        self._idle()
        info = handshake.server_info.put(ServerInfo(daemon_version, trust), self.dialect)
        return b"".join((self.to_send(), info, _LAST))

    def refuse(self, text: str) -> bytes:
        """Answer the greeting with an error; the connection is to be closed then."""
        self._expect_turn(not self._greeted and self._step == self.waiting, "refuse")
        self.must_close = True
        info = handshake.server_info.put(ServerInfo(), self.dialect)
        error = stderr.message.put(NixError(text), self.dialect)
        return b"".join((self.to_send(), info, error))

    def log(self, message: LogMessage) -> bytes:
        """Say something about the request under way, before it is answered."""
        self._expect_turn(self._open and self._replying is None, "log")
        return self.to_send() + stderr.encode_log(message, self.dialect)

    def fail_with(self, text: str) -> bytes:
        """Answer with an error of one text."""
        return self.fail(NixError(text))

    def fail(self, error: NixError) -> bytes:
        """Answer the request under way with an error.

        A body that has not ended is read and dropped.  Who broke the protocol is told only
        that.
        """
        if self._broken is not None:
            return self.to_send()
        self._expect_turn(self._open, "fail")
        assert self._request is not None
        operation = self._request.operation
        self._open = False
        drop: dict[Callable[[], Any], Callable[[], None]] = {
            self._read_body: self._drop_body,
            self._read_piece: self._drop_piece,
        }
        self._step = drop.get(self._step, self._idle)
        if self._step == self._idle:
            self._idle()
        if self._replying is not None or (
            operation.reply_body is Body.NAR and self.dialect.number < _HEARS_NAR_ERRORS
        ):
            self.must_close = True
        self._replying = None
        return self.to_send() + stderr.message.put(error, self.dialect)

    def reply(self, value: Any) -> bytes:
        """Answer the request under way; if its reply has a body, `reply_body` goes on.

        Raises:
            LocalProtocolError: the body has not ended (clients since 2.24 abort if answered then),
                or the client's version has no layout for `value`: the request may still `fail`.
        """
        unneeded = self._step == self._pull
        self._expect_turn(
            self._open and self._replying is None and (unneeded or self._step == self.waiting),
            "reply",
        )
        assert self._request is not None
        operation = self._request.operation
        answer = _LAST + operation.reply.put(value, self.dialect)
        if operation.reply_body is Body.NONE:
            self._answered()
            return self.to_send() + answer
        self._replying = answer
        return self.to_send() + (b"" if operation.reply_body is Body.EXPORT else answer)

    def reply_body(self, data: bytes) -> bytes:
        """Send some of the reply's body."""
        self._expect_turn(self._replying is not None, "send a reply's body")
        assert self._request is not None
        if self._request.operation.reply_body is Body.EXPORT:
            return stderr.message.put(Write(data), self.dialect)
        return data

    def reply_body_end(self) -> bytes:
        """End the reply's body."""
        self._expect_turn(self._replying is not None, "end a reply's body")
        assert self._request is not None
        assert self._replying is not None
        answer = self._replying
        self._answered()
        return answer if self._request.operation.reply_body is Body.EXPORT else b""

    def _answered(self) -> None:
        self._open = False
        self._replying = None
        self._idle()
