"""Follows what a client asks in a session that somebody else serves.  Says and decides nothing.

Whoever stands between a client and its daemon, and passes their bytes on as they are, learns here
where the client's requests begin and end, and what they are.  `position` tells how much of what
the client has sent may be passed on: a request only once it is complete and has been reported, so
that it can be kept back and answered by another.

Of the daemon only its greeting is read, and, while it pulls a body, whether it wants more: without
that a piece of the body could not be told from the next request.  What cannot be understood is
reported by `RemoteProtocolError` and need not be wrong: a later Nix may speak so.
"""

from collections.abc import Callable
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.limits import MAX_HANDSHAKE, MAX_MESSAGE, MAX_REQUEST
from protocol.store.path import STORE_DIR
from protocol.version import Dialect, Number, negotiate
from protocol.wire.bodies import Body as BodyReader
from protocol.wire.bodies import SkippedFrames
from protocol.wire.operation import Body, Operation
from protocol.wire.source import Source, Underrun
from protocol.worker import forms, handshake, skimming, stderr
from protocol.worker.events import Asked, BodyEnd, Greeted
from protocol.worker.forms import Form
from protocol.worker.registry import REGISTRY
from protocol.worker.versions import FEATURES, NEWEST, OLDEST

Followed = Greeted | Asked | BodyEnd
"""All that is reported."""

KNOWN: Final = FEATURES
"""Features whose layouts are known here.  With another one agreed on, nothing can be followed."""


class Follower:
    """One session, seen from between its ends."""

    def __init__(self, store_dir: str = STORE_DIR) -> None:
        self.position = 0
        """How many of the client's bytes may be passed on."""
        self._store_dir = store_dir
        self._fed = 0
        self._source = Source()
        self._source.begin(MAX_HANDSHAKE)
        self._step: Callable[[], Followed | None] = self._read_magic
        self._dialect: Dialect | None = None
        self._theirs: frozenset[str] = frozenset()
        self._body: BodyReader | None = None
        # Of the daemon: what it has said that is to be read, and by what.
        self._heard = Source()
        self._heard.begin(MAX_HANDSHAKE)
        self._hear: Callable[[], object] | None = self._hear_greeting
        self._number: Number | None = None
        self._features: frozenset[str] | None = None
        self._pulls = 0

    @property
    def dialect(self) -> Dialect:
        """What was agreed on; known once `Greeted` has been reported."""
        assert self._dialect is not None
        return self._dialect

    @property
    def awaits_daemon(self) -> bool:
        """Whether more of the daemon's bytes are needed before the client's can be understood."""
        return self._hear is not None

    @property
    def awaits_client(self) -> bool:
        """Whether only more of the client's bytes can lead on, whatever the daemon says."""
        return not (
            (self._step == self._read_number and self._number is None)
            or self._step == self._agree
            or (self._step == self._read_piece and not self._pulls)
        )

    @property
    def awaits_request(self) -> bool:
        """Whether the client's next byte begins a request."""
        return self._step == self._read_code

    def from_client(self, data: bytes) -> None:
        """Take bytes that the client has sent; `next_event` says what they were."""
        self._fed += len(data)
        self._source.feed(data)

    def skim(self, data: bytes) -> bool:
        """Take, without a further look, what needs none; that is most of what is said.

        Args:
            data: bytes that the client has sent.

        Returns:
            Whether they were one request that `skimming` knows, or belong to a framed body.  They
            may be passed on and are not reported; of anything else nothing was taken.
        """
        if self._source.inside:
            return False
        if self._step == self._read_code:
            if not skimming.is_request(data) and not self._skim_upload(data):
                return False
        elif self._step != self._read_body or not self._skim_frames(self._body, data):
            return False
        self._fed += len(data)
        self.position += len(data)
        return True

    def _skim_upload(self, data: bytes) -> bool:
        end = skimming.upload(data)
        if end is None or forms.form(Body.NAR, self.dialect) is not Form.FRAMED:
            return False
        self._body, self._step = SkippedFrames(), self._read_body
        if self._skim_frames(self._body, data[end:]):
            return True
        self._body, self._step = None, self._read_code
        return False

    def _skim_frames(self, body: BodyReader | None, data: bytes) -> bool:
        if not isinstance(body, SkippedFrames) or not body.skim(data):
            return False
        if body.finished:
            self._begin()
        return True

    def from_daemon(self, data: bytes) -> None:
        """Take bytes that the daemon has sent, before the client gets them.

        Raises:
            RemoteProtocolError: it does not speak the protocol as it is known here.
        """
        if self._hear is None:
            return
        self._heard.feed(data)
        try:
            while self._hear is not None:
                if self._heard.starved:
                    return
                self._hear()
        except Underrun:
            return

    def next_event(self) -> Followed | None:
        """What the client has done next; None until more bytes of one of both are known.

        Raises:
            RemoteProtocolError: the client does not speak the protocol as it is known here.
        """
        if self._source.starved:
            return None
        try:
            while (event := self._step()) is None:
                pass
        except Underrun:
            return None
        return event

    # -- what the daemon says

    def _hear_greeting(self) -> None:
        magic = self._heard.peek()
        if magic != handshake.SERVER_MAGIC:
            raise RemoteProtocolError(
                f"no daemon of the worker protocol: it begins with {magic:#x}"
            )
        self._heard.u64()
        self._hear = self._hear_number

    def _hear_number(self) -> None:
        self._number = handshake.version.get(self._heard, Dialect(NEWEST))
        self._hear = None
        if self._number >= handshake.FEATURES_SINCE:
            self._hear = self._hear_features

    def _hear_features(self) -> None:
        # A client of an older version is sent none, and the daemon's next words are no features.
        if self._dialect is None:
            raise Underrun(1)
        if self.dialect.number >= handshake.FEATURES_SINCE:
            self._features = handshake.features.get(self._heard, self.dialect)
        self._hear = None

    def _hear_pulls(self) -> None:
        match stderr.message.get(self._heard, self.dialect):
            case stderr.Read():
                self._pulls += 1
            case stderr.Last() | stderr.NixError():
                self._hear = None
            case _:
                pass
        self._heard.begin(MAX_MESSAGE)

    # -- what the client says

    def _passed(self) -> None:
        self.position = self._fed - len(self._source)

    def _read_magic(self) -> None:
        magic = self._source.u64()
        if magic != handshake.CLIENT_MAGIC:
            raise RemoteProtocolError(
                f"no client of the worker protocol: it begins with {magic:#x}"
            )
        self._passed()
        self._step = self._read_number

    def _read_number(self) -> None:
        if self._number is None:
            raise Underrun(0)
        theirs = handshake.version.get(self._source, Dialect(NEWEST))
        number = negotiate(self._number, theirs)
        if not OLDEST <= number <= NEWEST:
            raise RemoteProtocolError(f"version {number} is none of {OLDEST} to {NEWEST}")
        self._dialect = Dialect(number, store_dir=self._store_dir)
        self._passed()
        self._step = self._read_preamble
        if number >= handshake.FEATURES_SINCE:
            self._step = self._read_features

    def _read_features(self) -> None:
        self._theirs = handshake.features.get(self._source, self.dialect)
        self._passed()
        self._step = self._read_preamble

    def _read_preamble(self) -> None:
        handshake.preamble.get(self._source, self.dialect)
        self._passed()
        self._step = self._agree

    def _agree(self) -> Followed:
        number = self.dialect.number
        if number >= handshake.FEATURES_SINCE:
            if self._features is None:
                self.from_daemon(b"")
            if self._features is None:
                raise Underrun(0)
            agreed = self._theirs & self._features
            if agreed - KNOWN:
                raise RemoteProtocolError(f"the feature `{min(agreed - KNOWN)}` is not known")
            self._dialect = Dialect(number, agreed, self._store_dir)
        self._hear = None
        self._begin()
        return Greeted(self.dialect)

    def _begin(self) -> None:
        self._source.begin(MAX_REQUEST)
        self._step = self._read_code

    def _read_code(self) -> None:
        operation = REGISTRY.find(self._source.u64(), self.dialect)
        self._step = lambda: self._read_request(operation)

    def _read_request(self, operation: Operation) -> Followed:
        request = operation.read_request(self._source, self.dialect)
        self._passed()
        if operation.body is Body.NONE:
            self._begin()
            return Asked(request, operation)
        form = forms.form(operation.body, self.dialect)
        framed = form is Form.FRAMED
        self._body = SkippedFrames() if framed else forms.reader(request, self.dialect)
        self._source.begin(None)
        self._step = self._read_body
        if form is Form.PULLED:
            self._pulls = 0
            self._heard = Source()
            self._heard.begin(MAX_MESSAGE)
            self._hear = self._hear_pulls
            self._step = self._read_piece
        return Asked(request, operation)

    def _read_body(self) -> Followed | None:
        assert self._body is not None
        try:
            self._body.read(self._source)
        finally:
            self._passed()  # whatever is there of a body may be passed on
        if not self._body.finished:
            return None
        self._begin()
        return BodyEnd()

    def _read_piece(self) -> Followed | None:
        """One answer to a pull, or the end of the body: the daemon has said that it is done."""
        if not self._pulls:
            if self._hear is not None:
                raise Underrun(0)
            self._begin()
            return BodyEnd()
        forms.piece.get(self._source, self.dialect)
        self._pulls -= 1
        self._passed()
        self._source.begin(MAX_MESSAGE)
        return None
