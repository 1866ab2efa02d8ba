"""A recording to the messages that were exchanged.  Opens no file and judges nothing.

Two connections of our own are put in place of the recorded programs: one serves and is fed what the
client sent, one asks and is fed what the server sent.  What either of them hears, the other one is
made to say.  So each always knows what the other side is being answered to, whatever version was
spoken, and what they say can be compared with what was recorded.

What both programs offered stands in the first bytes of either direction: nothing about versions is
taken from the recording's header but which protocol it is.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.serve import connection as serve_connection
from protocol.serve import events as serve
from protocol.transcript.record import Direction, Frame, Header, RecordingReader
from protocol.transcript.record import Protocol as Spoken
from protocol.version import Dialect, Number
from protocol.wire.source import Source, Underrun
from protocol.worker import client as worker_client
from protocol.worker import events as worker
from protocol.worker import forms, handshake, stderr
from protocol.worker import server as worker_server
from protocol.worker.forms import Form

Event: TypeAlias = worker.ServerEvent | worker.ClientEvent | serve.ServerEvent | serve.ClientEvent
"""All that can be heard in a session."""

_VERSIONS_END: Final = 16
"""Bytes of a magic number and a version: what either side says first, in either protocol."""

_MAX_GREETING: Final = 1 << 20
"""Bytes that are held until it is known what both sides offered."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that was said."""

    direction: Direction
    microseconds: int
    """When its last byte was recorded."""
    event: Event
    encoded: bytes
    """What we would have sent in place of the program that said it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one side said it can speak."""

    number: Number
    features: frozenset[str] = frozenset()


class _Mirror(Protocol):
    """Two connections, each saying what the other one hears."""

    def hear(self, direction: Direction, data: bytes) -> Iterator[tuple[Event, bytes]]:
        """What was said with `data`, and how we would have said it."""


class _ServeMirror:
    """For the serve protocol."""

    def __init__(self, store_dir: str, client: Offer, server: Offer) -> None:
        self._server = serve_connection.ServerConnection(store_dir, server.number)
        self._client = serve_connection.ClientConnection(store_dir, client.number)

    def hear(self, direction: Direction, data: bytes) -> Iterator[tuple[Event, bytes]]:
        """See `_Mirror`."""
        if direction is Direction.TO_SERVER:
            self._server.receive(data)
            while (heard := self._server.next_event()) is not None:
                yield heard, self._ask(heard)
                if isinstance(heard, serve.PeerClosed):
                    return
        else:
            self._client.receive(data)
            while (answer := self._client.next_event()) is not None:
                yield answer, self._answer(answer)
                if isinstance(answer, serve.PeerClosed):
                    return

    def _ask(self, event: serve.ServerEvent) -> bytes:
        match event:
            case serve.Greeted():
                return self._client.hello()
            case serve.Asked(request):
                return self._client.ask(request)
            case serve.BodyData(data):
                return self._client.body(data)
            case serve.BodyEnd():
                return self._client.body_end()
            case serve.PeerClosed():
                return b""

    def _answer(self, event: serve.ClientEvent) -> bytes:
        match event:
            case serve.Greeted():
                return self._server.to_send()
            case serve.Replied(value):
                return self._server.reply(value)
            case serve.ReplyData(data):
                return self._server.reply_body(data)
            case serve.ReplyEnd():
                return self._server.reply_body_end()
            case serve.PeerClosed():
                return b""


class _WorkerMirror:
    """For the worker protocol."""

    def __init__(self, store_dir: str, client: Offer, server: Offer) -> None:
        self._server = worker_server.ServerConnection(store_dir, server.number, server.features)
        self._client = worker_client.ClientConnection(store_dir, client.number, client.features)

    def hear(self, direction: Direction, data: bytes) -> Iterator[tuple[Event, bytes]]:
        """See `_Mirror`."""
        if direction is Direction.TO_SERVER:
            self._server.receive(data)
            while (heard := self._server.next_event()) is not None:
                yield heard, self._ask(heard)
                # A body that is pulled comes when the recorded server pulls it, or not at all.
                if isinstance(heard, worker.PeerClosed) or self._is_pulled(heard):
                    return
        else:
            self._client.receive(data)
            while (answer := self._client.next_event()) is not None:
                yield answer, self._answer(answer)
                if isinstance(answer, worker.PeerClosed):
                    return

    def _is_pulled(self, event: worker.ServerEvent) -> bool:
        return (
            isinstance(event, worker.Asked)
            and forms.form(event.operation.body, self._server.dialect) is Form.PULLED
        )

    def _ask(self, event: worker.ServerEvent) -> bytes:
        match event:
            case worker.Greeted():
                return self._client.hello() + self._client.to_send()
            case worker.Asked(request):
                return self._client.ask(request)
            case worker.BodyData(data):
                self._server.to_send()  # Pulls of ours; the recorded ones are heard as `Pull`.
                return self._client.body(data)
            case worker.BodyEnd():
                return self._client.body_end()
            case worker.PeerClosed():
                return b""

    def _answer(self, event: worker.ClientEvent) -> bytes:
        match event:
            case worker.Welcomed(_, daemon_version, trust):
                return self._server.welcome(daemon_version, trust)
            case worker.Logged(message):
                return self._server.log(message)
            case worker.Pull(size):
                return stderr.message.put(stderr.Read(size), self._server.dialect)
            case worker.Replied(value):
                return self._server.reply(value)
            case worker.ReplyData(data):
                return self._server.reply_body(data)
            case worker.ReplyEnd():
                return self._server.reply_body_end()
            case worker.Failed(error):
                return self._server.fail(error)
            case worker.PeerClosed():
                return b""


class Decoder:
    """The messages of one recording, frame by frame."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._mirror: _Mirror | None = None
        self.offers: tuple[Offer, Offer] | None = None
        """What client and server offered; known with the first message."""
        self._waiting: list[Frame] = []
        self._greetings = dict.fromkeys(Direction, b"")

    def feed(self, frame: Frame) -> Iterator[Message]:
        """What was complete with this frame; to be iterated to its end before the next call.

        Raises:
            RemoteProtocolError: one of the programs broke the protocol.
        """
        if self._mirror is None:
            self._waiting.append(frame)
            self._greetings[frame.direction] += frame.data
            if sum(map(len, self._greetings.values())) > _MAX_GREETING:
                raise RemoteProtocolError("no greetings are found at the start of the recording")
            self._mirror = self._recognise()
            if self._mirror is None:
                return
            frames, self._waiting = self._waiting, []
        else:
            frames = [frame]
        for each in frames:
            yield from self._hear(each)

    def end(self, microseconds: int) -> Iterator[Message]:
        """What follows from the end of the recording: both sides have closed.

        Raises:
            RemoteProtocolError: something was left in its middle.
        """
        if self._mirror is None:
            raise RemoteProtocolError("the recording ends before the handshake does")
        for direction in Direction:
            yield from self._hear(Frame(direction, microseconds, b""))

    def _hear(self, frame: Frame) -> Iterator[Message]:
        assert self._mirror is not None
        try:
            for event, encoded in self._mirror.hear(frame.direction, frame.data):
                yield Message(frame.direction, frame.microseconds, event, encoded)
        except LocalProtocolError as error:
            # Ours says only what the recorded program said: that one was out of turn.
            raise RemoteProtocolError(f"a program broke the protocol: {error}") from error

    def _recognise(self) -> _Mirror | None:
        """Read what both sides offer; None while it is not complete."""
        client, server = (self._greetings[direction] for direction in Direction)
        if min(len(client), len(server)) < _VERSIONS_END:
            return None
        numbers = [
            Number.from_word(int.from_bytes(said[8:_VERSIONS_END], "little"))
            for said in (client, server)
        ]
        offers = [Offer(number) for number in numbers]
        worker_protocol = self._header.protocol is Spoken.WORKER
        if worker_protocol and min(numbers) >= handshake.FEATURES_SINCE:
            try:
                offers = [
                    Offer(number, _features(said, self._header.store_dir))
                    for number, said in zip(numbers, (client, server), strict=True)
                ]
            except Underrun:
                return None
        self.offers = (offers[0], offers[1])
        if self._header.protocol is Spoken.SERVE:
            return _ServeMirror(self._header.store_dir, *offers)
        return _WorkerMirror(self._header.store_dir, *offers)


def _features(said: bytes, store_dir: str) -> frozenset[str]:
    source = Source(said[_VERSIONS_END:])
    return handshake.features.get(source, Dialect(handshake.FEATURES_SINCE, store_dir=store_dir))


def messages(
    pieces: Iterable[bytes], started: Callable[[Header], Any] = lambda _: None
) -> Iterator[Message]:
    """All messages of a recording.

    Args:
        pieces: the file, cut anyhow.
        started: is told the header once it has been read.

    Raises:
        RemoteProtocolError: the file is no recording, or a program broke the protocol.
    """
    reader = RecordingReader()
    decoder: Decoder | None = None
    latest = 0
    for piece in pieces:
        for frame in reader.feed(piece):
            if decoder is None:
                assert reader.header is not None
                started(reader.header)
                decoder = Decoder(reader.header)
            latest = frame.microseconds
            yield from decoder.feed(frame)
    reader.end()
    if decoder is None:
        raise RemoteProtocolError("the recording holds no frames")
    yield from decoder.end(latest)
