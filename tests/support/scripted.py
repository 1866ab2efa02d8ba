"""A nix-daemon at a Unix socket that says what a test tells it to: for what no daemon here says."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.version import Number
from protocol.wire.operation import Body
from protocol.worker.events import Asked, BodyData, BodyEnd, Greeted, PeerClosed
from protocol.worker.handshake import Trust
from protocol.worker.results import Missing
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import NixError
from protocol.worker.versions import NEWEST

NOTHING = frozenset[Any]()


class Speaker:
    """One connection, as an answer sees it."""

    def __init__(self, connection: ServerConnection, channel: socket.socket) -> None:
        self.connection = connection
        self._channel = channel

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self._channel.sendall(data)

    def reply(self, value: Any) -> None:
        """Answer."""
        self.send(self.connection.reply(value))

    def fail(self, text: str) -> None:
        """Answer with an error."""
        self.send(self.connection.fail(NixError(text)))

    def close(self) -> None:
        """End the connection."""
        self._channel.shutdown(socket.SHUT_RDWR)


Answer = Callable[[Speaker, Any], None]
"""Is given the connection and the request."""

USUAL: dict[str, Answer] = {
    "SetOptions": lambda speaker, _: speaker.reply(None),
    "AddTempRoot": lambda speaker, _: speaker.reply(None),
    "IsValidPath": lambda speaker, _: speaker.reply(value=True),
    "QueryValidPaths": lambda speaker, request: speaker.reply(request.paths),
    "QueryValidDerivers": lambda speaker, _: speaker.reply(NOTHING),
    "QueryMissing": lambda speaker, _: speaker.reply(Missing(NOTHING, NOTHING, NOTHING, 0, 0)),
}
"""What is answered unless a test says otherwise; everything else is an error."""


@dataclass
class Scripted:
    """See the module."""

    path: Path
    newest: Number = NEWEST
    features: frozenset[str] = NOTHING
    version: str = "2.36.0"
    answers: dict[str, Answer] = field(default_factory=dict)
    """By operation; called when the request is complete, its body included."""
    at_once: dict[str, Answer] = field(default_factory=dict)
    """By operation; called when the first piece of its body has come."""
    asked: list[str] = field(default_factory=list)
    """What was asked so far, of all connections."""

    @contextmanager
    def listening(self) -> Iterator["Scripted"]:
        """Serve until the end of the block."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield self
            listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                channel, _ = listener.accept()
                threading.Thread(target=self._serve, args=(channel,), daemon=True).start()

    def _serve(self, channel: socket.socket) -> None:
        connection = ServerConnection(newest=self.newest, features=self.features)
        speaker = Speaker(connection, channel)
        with channel, suppress(OSError):
            asked: Asked | None = None
            early: Answer | None = None
            while True:
                event = connection.next_event()
                channel.sendall(connection.to_send())
                match event:
                    case None:
                        connection.receive(channel.recv(1 << 16))
                    case Greeted():
                        channel.sendall(connection.welcome(self.version, Trust.TRUSTED))
                    case Asked(operation=operation):
                        asked = event
                        self.asked.append(operation.name)
                        early = self.at_once.get(operation.name)
                        if operation.body is Body.NONE:
                            self._answer(speaker, asked)
                    case BodyData() if early is not None and asked is not None:
                        early(speaker, asked.request)
                        early = None
                    case BodyData():
                        pass
                    case BodyEnd():
                        assert asked is not None
                        self._answer(speaker, asked)
                    case PeerClosed():
                        return

    def _answer(self, speaker: Speaker, asked: Asked) -> None:
        name = asked.operation.name
        answer = self.answers.get(name) or USUAL.get(name)
        if answer is None:
            speaker.fail(f"this script has no {name}")
        else:
            answer(speaker, asked.request)
