"""The client's end of a worker connection.  Decides nothing: it is told what to ask.

    hello -> Welcomed -> { ask -> body, Logged -> Replied, ReplyData, ReplyEnd | Failed }

Only one request is under way at a time.  While a body is sent, events have to be read: a daemon
that is not heard stops taking.  A body is ended with `body_end` even when its request has `Failed`
before: that is what the daemon waits for.  Pieces of a body may have any size; only daemons below
1.23 `Pull` the NAR of `AddToStoreNar`, and have to be given what they ask for.
"""

from typing import Any, Final, assert_never

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.limits import MAX_HANDSHAKE, MAX_MESSAGE, MAX_REPLY, MAX_TEXT
from protocol.store.path import STORE_DIR
from protocol.version import PATH_NOT_HASH, Dialect, Number, negotiate
from protocol.wire.bodies import END_FRAME, NarBody, frame
from protocol.wire.codec import to_text
from protocol.wire.machine import Machine
from protocol.wire.operation import Body, Operation, Request
from protocol.wire.source import WORD
from protocol.worker import forms, handshake, stderr
from protocol.worker.events import (
    ClientEvent,
    Failed,
    Logged,
    PeerClosed,
    Pull,
    Replied,
    ReplyData,
    ReplyEnd,
    Welcomed,
)
from protocol.worker.forms import Form
from protocol.worker.stderr import Last, NixError, Read, Write
from protocol.worker.versions import NEWEST, OLDEST

_BY_PATH: Final = frozenset({42, 43})
"""RegisterDrvOutput and QueryRealisation, whose layouts the feature replaces."""

_BANNER: Final = 200
"""Bytes of what is no protocol that are shown."""


class ClientConnection(Machine[ClientEvent]):
    """See the module."""

    def __init__(
        self,
        store_dir: str = STORE_DIR,
        newest: Number = NEWEST,
        features: frozenset[str] = frozenset(),
        max_reply: int = MAX_REPLY,
    ) -> None:
        """Be a client of one daemon.

        Args:
            store_dir: where the paths lie that both talk about.
            newest: the version to offer.
            features: those to offer.
            max_reply: bytes of a reply, without its body, that are held.
        """
        super().__init__(self._read_magic, MAX_HANDSHAKE, PeerClosed())
        self._store_dir = store_dir
        self._newest = newest
        self._features = features
        self._max_reply = max_reply
        self._info = handshake.ServerInfo()
        self.offered: frozenset[str] = frozenset()
        """The daemon's features, agreed on or not; known with `Welcomed`."""
        self._ready = False
        self._operation: Operation | None = None
        self._form = Form.NONE
        # Of the request under way or the one before: whether its body is still to be ended, whether
        # anybody wants it, and, of one that cannot be sent before it is complete, what there is.
        self._open = False
        self._wanted = False
        self._pulled = 0
        self._held: list[bytes] | None = None
        self._held_size = 0
        self._nar = NarBody()
        self._told = False

    # -- what the daemon says

    def _read_magic(self) -> None:
        magic = self._source.peek()
        if magic != handshake.SERVER_MAGIC:
            said = to_text(self._source.take_some(_BANNER)).rstrip("\0")
            raise RemoteProtocolError(f"no daemon of the worker protocol: it says `{said}`")
        self._source.u64()
        self._step = self._read_version

    def _read_version(self) -> None:
        draft = Dialect(self._newest, store_dir=self._store_dir)
        theirs = handshake.version.get(self._source, draft)
        number = negotiate(self._newest, theirs)
        if number < OLDEST:
            raise RemoteProtocolError(f"the daemon's version {theirs} is below {OLDEST}")
        self._dialect = Dialect(number, store_dir=self._store_dir)
        self._step = self._read_info
        if number >= handshake.FEATURES_SINCE:
            self._out.append(handshake.features.put(self._features, self.dialect))
            self._step = self._read_features
        self._out.append(handshake.preamble.put(None, self.dialect))

    def _read_features(self) -> None:
        self.offered = handshake.features.get(self._source, self.dialect)
        agreed = self.offered & self._features
        self._dialect = Dialect(self.dialect.number, agreed, self._store_dir)
        self._step = self._read_info

    def _read_info(self) -> None:
        self._info = handshake.server_info.get(self._source, self.dialect)
        self._listen()

    def _listen(self) -> None:
        self._source.begin(MAX_MESSAGE)
        self._step = self._read_message

    def _read_message(self) -> ClientEvent | None:
        message = stderr.message.get(self._source, self.dialect)
        self._source.begin(MAX_MESSAGE)
        match message:
            case Last():
                return self._last()
            case NixError():
                return self._fail(message)
            case Read(size):
                return self._pull(size)
            case Write(data):
                return self._write(data)
            case _:
                return Logged(message)

    def _last(self) -> ClientEvent | None:
        if self._operation is None:
            self._ready = True
            self._step = self.waiting
            return Welcomed(self.dialect, self._info.daemon_version, self._info.trust)
        if self._open and self._form is Form.FRAMED:
            raise RemoteProtocolError(
                f"{self._operation.name} was answered before its body had ended"
            )
        self._wanted = False
        self._source.begin(self._max_reply)
        self._step = self._read_reply
        return None

    def _fail(self, error: NixError) -> ClientEvent:
        # What was sent raw cannot be told from what comes next by a daemon that gave up.
        if not self._ready or (self._open and self._form is Form.RAW):
            self.must_close = True
        self._finish()
        return Failed(error)

    def _pull(self, size: int) -> ClientEvent:
        if not (self._open and self._form is Form.PULLED) or self._pulled or not size:
            raise RemoteProtocolError("data were asked for where there are none")
        # Whatever the daemon says next, an error as well, comes behind the answer to this.
        self._pulled = size
        self._step = self.waiting
        return Pull(size)

    def _write(self, data: bytes) -> ClientEvent | None:
        if self._operation is None or self._operation.reply_body is not Body.EXPORT:
            raise RemoteProtocolError("data were sent where none were asked for")
        if self._told:
            return ReplyData(data)
        self._told = True
        self._step = lambda: self._go_on_with(data)
        return Replied(None)

    def _go_on_with(self, data: bytes) -> ClientEvent:
        self._step = self._read_message
        return ReplyData(data)

    def _read_reply(self) -> ClientEvent:
        assert self._operation is not None
        value = self._operation.read_reply(self._source, self.dialect)
        match self._operation.reply_body:
            case Body.NAR:
                self._source.begin(MAX_MESSAGE)
                self._step = self._begin_nar
            case Body.EXPORT:
                self._step = self._end_reply
                if self._told:
                    return self._end_reply()
            case _:
                self._finish()
        return Replied(value)

    def _begin_nar(self) -> ClientEvent | None:
        # A daemon that cannot read the path says so where the NAR should be, and closes.
        if self._source.peek() == stderr.ERROR:
            self._step = self._read_late_error
        else:
            self._nar = NarBody()
            self._step = self._read_nar
        return None

    def _read_late_error(self) -> ClientEvent:
        error = stderr.message.get(self._source, self.dialect)
        assert isinstance(error, NixError)
        self._finish()
        self.must_close = True
        return Failed(error)

    def _read_nar(self) -> ClientEvent | None:
        data = self._nar.read(self._source)
        if self._nar.finished:
            self._step = self._end_reply
        return ReplyData(data) if data else None

    @property
    def contents_left(self) -> int:
        """How many bytes of a file within a reply's NAR come next; 0: a look has to be taken."""
        within = self._step == self._read_nar and not len(self._source)
        return self._nar.reader.contents_left if within else 0

    def skip_contents(self, count: int) -> None:
        """Leave out bytes of a file, at most `contents_left`: somebody else has passed them on."""
        self._nar.reader.skip(count)

    def _end_reply(self) -> ClientEvent:
        self._finish()
        return ReplyEnd()

    def _finish(self) -> None:
        self._operation = None
        self._wanted = False
        if self._form is not Form.FRAMED:
            self._open = False
        self._step = self.waiting

    def may_end(self) -> bool:
        """Whether the daemon may leave: not within a value or a NAR."""
        return super().may_end() and self._step != self._read_nar

    # -- what we say

    @property
    def pulls(self) -> bool:
        """Whether the daemon asks for the body under way piece by piece: await `Pull` then."""
        return self._open and self._form is Form.PULLED

    def hello(self) -> bytes:
        """What a client begins with; more follows from `to_send` once the daemon has answered."""
        return WORD.pack(handshake.CLIENT_MAGIC) + WORD.pack(self._newest.word)

    def ask(self, request: Request[Any]) -> bytes:
        """Send a request; its body, if it has one, follows with `body`.

        Raises:
            LocalProtocolError: another one is under way, the body of the one before has not been
                ended, or the daemon's version does not have the operation or a layout for it.
        """
        operation = request.operation
        self._expect_turn(self._ready and self._operation is None and not self._open, "ask")
        if not operation.exists(self.dialect):
            raise LocalProtocolError(f"{operation.name} does not exist in {self.dialect}")
        if operation.code in _BY_PATH and PATH_NOT_HASH in self.offered - self.dialect.features:
            # It would answer with an error, and take the request's fields for the next operation.
            raise LocalProtocolError(
                f"{operation.name} is asked of a daemon with the feature `{PATH_NOT_HASH}`"
                " only by who has it too"
            )
        data = WORD.pack(operation.code) + operation.layout.put(request, self.dialect)
        self._operation = operation
        self._form = forms.form(operation.body, self.dialect)
        self._open = self._wanted = operation.body is not Body.NONE
        self._pulled = 0
        self._held = [] if self._form is Form.RAW and forms.is_flat(request) else None
        self._held_size = 0
        self._told = False
        self._listen()
        return self.to_send() + data

    def body(self, data: bytes) -> bytes:
        """Send some of the body.

        Returns:
            What to send; nothing when the daemon does not want any more.
        """
        self._expect_turn(self._open or self._form is not Form.NONE, "send a body")
        if not self._wanted or not data:
            return b""
        match self._form:
            case Form.FRAMED:
                return frame(data)
            case Form.PULLED:
                if not len(data) <= self._pulled:
                    raise LocalProtocolError(
                        f"{len(data)} bytes for a daemon that pulls {self._pulled}: await its Pull"
                    )
                self._pulled = 0
                self._step = self._read_message
                return forms.piece.put(data, self.dialect)
            case Form.RAW:
                return data if self._held is None else self._hold(data, self._held)
            case Form.NONE:
                return b""
            case _:
                assert_never(self._form)

    def _hold(self, data: bytes, held: list[bytes]) -> bytes:
        """Keep a piece of a file: its NAR begins with the size."""
        held.append(data)
        self._held_size += len(data)
        if self._held_size > MAX_TEXT:
            raise LocalProtocolError(
                f"a file of more than {MAX_TEXT} bytes cannot be sent to {self.dialect}"
            )
        return b""

    def body_end(self) -> bytes:
        """End the body; also of a request that has failed meanwhile."""
        self._expect_turn(self._form is not Form.NONE, "end a body")
        wanted, self._open, self._wanted = self._wanted, False, False
        form, self._form = self._form, Form.NONE
        if form is Form.FRAMED:
            return END_FRAME
        if self._held is not None and wanted:
            return forms.flat_nar(b"".join(self._held))
        return b""
