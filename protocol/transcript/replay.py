"""Playing one half of a recording against a living program, and comparing what that says.

No I/O: a player is a generator.  It yields bytes to be sent, or None when it has to hear something
first, and is sent what has arrived since: bytes, None for nothing yet, `b""` for the end.  Both
players decode the recording and speak it anew, so the living program may offer another version.

* `play_client` asks what the recorded client asked, and compares the answers.
* `play_server` answers as the recorded server did, and compares the requests.

A recording whose client was interrupted ends there: what was under way is not compared.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeAlias

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.serve import connection as serve_connection
from protocol.transcript.compare import USUAL, Bulk, Difference, Said, plain
from protocol.transcript.decode import Decoder, Message, Offer
from protocol.transcript.record import Direction, Header, Protocol, RecordingReader
from protocol.wire.events import (
    Asked,
    BodyData,
    BodyEnd,
    Greeted,
    PeerClosed,
    Replied,
    ReplyData,
    ReplyEnd,
)
from protocol.wire.operation import Body, Operation
from protocol.worker.client import ClientConnection
from protocol.worker.events import Failed, Logged, Pull, Welcomed
from protocol.worker.server import ServerConnection

Player: TypeAlias = Generator[bytes | None, bytes | None, "Report"]
"""See the module."""

Step: TypeAlias = Generator[bytes | None, bytes | None, None]

HANDSHAKE: Final = "handshake"


@dataclass(slots=True)
class Report:
    """What came of a replay."""

    compared: int = 0
    """Requests whose other half was compared, the handshake included."""
    differences: list[Difference] = field(default_factory=list)
    interrupted: bool = False
    """Whether the recording ends before its last request was answered."""


class _Digest:
    """A body on its way."""

    def __init__(self) -> None:
        self._size = 0
        self._hash = sha256()

    def add(self, data: bytes) -> None:
        self._size += len(data)
        self._hash.update(data)

    def done(self) -> Bulk:
        return Bulk(self._size, self._hash.hexdigest())


class Recorded:
    """A recording's messages, one after the other; an unfinished end is no error."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Begin to read.

        Args:
            pieces: the file, cut anyhow.

        Raises:
            RemoteProtocolError: it is no recording, or its handshake is not complete.
        """
        self._reader = RecordingReader()
        self._messages = self._read(iter(pieces))
        self._next = next(self._messages, None)
        if self._next is None or self._decoder is None or self._decoder.offers is None:
            raise RemoteProtocolError("the recording ends before the handshake does")
        self.client, self.server = self._decoder.offers

    _decoder: Decoder | None = None

    @property
    def header(self) -> Header:
        """What holds for the whole recording."""
        assert self._reader.header is not None
        return self._reader.header

    def _read(self, pieces: Iterator[bytes]) -> Iterator[Message]:
        latest = 0
        for piece in pieces:
            for frame in self._reader.feed(piece):
                self._decoder = self._decoder or Decoder(self.header)
                latest = frame.microseconds
                yield from self._decoder.feed(frame)
        self._reader.end()
        if self._decoder is not None:
            try:
                yield from self._decoder.end(latest)
            except RemoteProtocolError:
                return  # one of both was interrupted

    def __iter__(self) -> Iterator[Message]:
        """All messages, once."""
        while (message := self._next) is not None:
            self._next = next(self._messages, None)
            yield message


class _Line:
    """A connection of ours and its other end; keeps nothing but what has not been read."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def send(self, data: bytes) -> Step:
        arrived = yield data
        if arrived is not None:
            self.connection.receive(arrived)

    def event(self) -> Generator[bytes | None, bytes | None, Any]:
        """The next thing that the other end says."""
        while (event := self.connection.next_event()) is None:
            if said := self.connection.to_send():
                yield from self.send(said)
                continue
            arrived = yield None
            if arrived is not None:
                self.connection.receive(arrived)
        if said := self.connection.to_send():
            yield from self.send(said)
        return event

    def heard(self) -> Generator[bytes | None, bytes | None, list[Any]]:
        """What the other end has said without being waited for."""
        events = []
        while (event := self.connection.next_event()) is not None:
            events.append(event)
            if isinstance(event, PeerClosed):
                break
        if said := self.connection.to_send():
            yield from self.send(said)
        return events


class _Client:
    """Asks what was asked."""

    def __init__(self, recorded: Recorded, exempt: Iterable[str]) -> None:
        header, offer = recorded.header, recorded.client
        self._is_worker = header.protocol is Protocol.WORKER
        self._line = _Line(_client_connection(header, offer))
        self._recorded = recorded
        self._exempt = frozenset(exempt)
        self.report = Report()
        self._number = 0
        self._operation: Operation | None = None
        self._expected: Said = []
        self._said: Said = []
        self._bulk: _Digest | None = None
        self._heard_bulk: _Digest | None = None
        self._answered = True
        self._complete = True

    def play(self) -> Player:
        yield from self._line.send(self._line.connection.hello())
        self._answered = self._complete = False
        for message in self._recorded:
            if message.direction is Direction.TO_CLIENT:
                self._expect(message.event)
            else:
                yield from self._act(message.event)
        yield from self._finish()
        return self.report

    def _expect(self, event: Any) -> None:
        match event:
            case ReplyData(data):
                self._bulk = self._bulk or _Digest()
                self._bulk.add(data)
            case ReplyEnd():
                self._expected.append((self._bulk or _Digest()).done())
                self._complete = True
            case Pull():
                pass
            case PeerClosed() if self._is_worker or self._complete:
                pass
            case _:
                self._expected.append(event)
                self._complete = self._ends(event)

    def _ends(self, event: Any) -> bool:
        """Whether an answer is complete with this."""
        match event:
            case Welcomed() | Failed() | PeerClosed():
                return True
            case Greeted():
                return not self._is_worker
            case Replied():
                return self._operation is None or self._operation.reply_body is Body.NONE
            case _:
                return False

    def _act(self, event: Any) -> Step:
        match event:
            case Asked(request, operation):
                yield from self._finish()
                self._number += 1
                self._operation = operation
                self._answered = self._complete = False
                try:
                    question = self._line.connection.ask(request)
                except LocalProtocolError as error:
                    self._said.append(f"cannot be asked: {error}")
                    self._answered = True
                    return
                yield from self._line.send(question)
            case BodyData(data) if not self._answered:
                yield from self._body(data)
            case BodyEnd() if self._operation is not None and not self._unasked():
                yield from self._line.send(self._line.connection.body_end())
            case _:
                pass

    def _unasked(self) -> bool:
        return bool(self._said) and isinstance(self._said[0], str)

    def _body(self, data: bytes) -> Step:
        connection = self._line.connection
        while data and not self._answered:
            size = len(data)
            if getattr(connection, "pulls", False):
                event = yield from self._line.event()
                if not isinstance(event, Pull):
                    self._hear(event)
                    continue
                size = event.size
            yield from self._line.send(connection.body(data[:size]))
            data = data[size:]
            for event in (yield from self._line.heard()):
                self._hear(event)

    def _hear(self, event: Any) -> None:
        match event:
            case ReplyData(data):
                self._heard_bulk = self._heard_bulk or _Digest()
                self._heard_bulk.add(data)
            case ReplyEnd():
                self._said.append((self._heard_bulk or _Digest()).done())
                self._answered = True
            case PeerClosed():
                self._said.append(event)
                self._answered = True
            case Pull():
                raise RemoteProtocolError("more of a body is asked for than there was")
            case _:
                self._said.append(event)
                self._answered = self._ends(event)

    def _finish(self) -> Step:
        """Hear the answer out and compare it, unless the recorded client did not."""
        if not self._complete:
            self.report.interrupted = True
            return
        while not self._answered:
            self._hear((yield from self._line.event()))
        request = self._operation.name if self._operation else HANDSHAKE
        _compare(self.report, self._number, request, self._expected, self._said, self._exempt)
        self._operation = None
        self._expected, self._said = [], []
        self._bulk = self._heard_bulk = None


def _client_connection(header: Header, offer: Offer) -> Any:
    if header.protocol is Protocol.SERVE:
        return serve_connection.ClientConnection(header.store_dir, offer.number)
    return ClientConnection(header.store_dir, offer.number, offer.features)


def _server_connection(header: Header, offer: Offer) -> Any:
    if header.protocol is Protocol.SERVE:
        return serve_connection.ServerConnection(header.store_dir, offer.number)
    return ServerConnection(header.store_dir, offer.number, offer.features)


def _compare(
    report: Report,
    number: int,
    request: str,
    recorded: Said,
    heard: Said,
    exempt: frozenset[str],
) -> bool:
    expected, said = plain(recorded, exempt), plain(heard, exempt)
    report.compared += 1
    if expected == said:
        return True
    report.differences.append(
        Difference(number, request, tuple(map(repr, expected)), tuple(map(repr, said)))
    )
    return False


class _Server:
    """Answers what was answered."""

    def __init__(self, recorded: Recorded, exempt: Iterable[str]) -> None:
        self._is_worker = recorded.header.protocol is Protocol.WORKER
        self._line = _Line(_server_connection(recorded.header, recorded.server))
        self._recorded = recorded
        self._exempt = frozenset(exempt)
        self.report = Report()
        self._number = 0
        self._asked: Asked | None = None
        self._bodied = False
        self._recorded_body: _Digest | None = None
        self._body: Bulk | None = None

    def play(self) -> Player:
        event = yield from self._line.event()
        if not isinstance(event, Greeted):
            return self.report
        if not hasattr(self._line.connection, "welcome"):
            yield from self._line.send(self._line.connection.to_send())
        for message in self._recorded:
            if message.direction is Direction.TO_CLIENT:
                yield from self._say(message.event)
            elif not (yield from self._hear(message.event)):
                return self.report
            if self._line.connection.must_close:
                return self.report
        self.report.interrupted = self._asked is not None
        while isinstance(event := (yield from self._line.event()), Asked):
            self._difference(event.operation, [], [event.request])
            yield from self._refuse("the recording is over")
        return self.report

    def _hear(self, event: Any) -> Generator[bytes | None, bytes | None, bool]:
        match event:
            case Asked(request, operation):
                live = yield from self._line.event()
                self._number += 1
                if not isinstance(live, Asked):
                    self._difference(operation, [request], [live])
                    return False
                self._asked, self._bodied = live, live.operation.body is Body.NONE
                if not _compare(
                    self.report,
                    self._number,
                    operation.name,
                    [request],
                    [live.request],
                    self._exempt,
                ):
                    yield from self._refuse(
                        f"the recording goes on with {operation.name}, not with this"
                    )
                    return False
                self._recorded_body = None
            case BodyData(data):
                self._recorded_body = self._recorded_body or _Digest()
                self._recorded_body.add(data)
            case BodyEnd():
                yield from self._take_body()
                recorded = (self._recorded_body or _Digest()).done()
                if self._asked is not None and recorded != self._body:
                    self._difference(self._asked.operation, [recorded], [self._body])
            case _:
                pass
        return True

    def _difference(self, operation: Operation, recorded: Said, heard: Said) -> None:
        self.report.differences.append(
            Difference(
                self._number, operation.name, tuple(map(repr, recorded)), tuple(map(repr, heard))
            )
        )

    def _take_body(self) -> Step:
        digest = _Digest()
        while not self._bodied:
            match (yield from self._line.event()):
                case BodyData(data):
                    digest.add(data)
                case _:
                    self._bodied = True
        self._body = digest.done()

    def _refuse(self, why: str) -> Step:
        connection = self._line.connection
        self._asked = None
        if isinstance(connection, ServerConnection):
            yield from self._line.send(connection.fail_with(f"nix-shim replay: {why}"))
        else:
            connection.fail()  # the serve protocol has no errors: whoever plays this closes

    def _say(self, event: Any) -> Step:
        connection = self._line.connection
        match event:
            case Welcomed(_, daemon_version, trust):
                yield from self._line.send(connection.welcome(daemon_version, trust))
            case Logged(message):
                yield from self._line.send(connection.log(message))
            case Replied(value):
                if not getattr(connection, "pulls", False):
                    yield from self._take_body()
                yield from self._line.send(connection.reply(value))
                if self._asked is not None and self._asked.operation.reply_body is Body.NONE:
                    self._asked = None
            case ReplyData(data):
                yield from self._line.send(connection.reply_body(data))
            case ReplyEnd():
                yield from self._line.send(connection.reply_body_end())
                self._asked = None
            case Failed(error):
                yield from self._line.send(connection.fail(error))
                self._asked, self._bodied = None, True
            case PeerClosed() if self._asked is not None and not self._is_worker:
                yield from self._refuse("the recorded server closed the connection")
            case _:
                pass


def play_client(recorded: Recorded, exempt: Iterable[str] = USUAL) -> Player:
    """Ask a living server what the recorded client asked.

    Args:
        recorded: the recording.
        exempt: names of `compare.EXEMPTIONS`.

    Raises:
        RemoteProtocolError: the living server broke the protocol.
    """
    return _Client(recorded, exempt).play()


def play_server(recorded: Recorded, exempt: Iterable[str] = USUAL) -> Player:
    """Answer one living client as the recorded server did.

    Args:
        recorded: the recording.
        exempt: names of `compare.EXEMPTIONS`.

    Raises:
        RemoteProtocolError: the living client broke the protocol.
    """
    return _Server(recorded, exempt).play()
