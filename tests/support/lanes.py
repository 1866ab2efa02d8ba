"""A lane between two plain sockets: a client and a daemon that a test speaks for, step by step."""

import socket
import termios
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from fcntl import ioctl
from typing import Any

import trio

from protocol.store.path import StorePath
from protocol.version import Number
from protocol.wire.operation import Request
from protocol.wire.source import WORD
from protocol.worker import events as worker
from protocol.worker.client import ClientConnection
from protocol.worker.handshake import Trust
from protocol.worker.messages import IsValidPath
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import LogMessage
from protocol.worker.versions import NEWEST
from shim.config import Deadlines
from shim.daemon.clients.client import Client
from shim.daemon.clients.lane import Lane
from shim.daemon.nix.upstream import Upstream

LONG = 20.0
"""Seconds that nothing waits for unless it is stuck."""

PIECE = 1 << 16


class Speaker:
    """One side."""

    def __init__(self, sock: socket.socket, connection: Any) -> None:
        self.sock = sock
        self.connection = connection
        self.heard = b""
        self.sent = b""
        sock.settimeout(LONG)

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self.sent += data
        self.sock.sendall(data)

    def send_and_wait(self, data: bytes) -> None:
        """The same, and wait until the lane has read them."""
        self.send(data)
        pause = threading.Event()
        while WORD.unpack(ioctl(self.sock, termios.TIOCOUTQ, bytes(8)))[0]:
            pause.wait(0.001)

    def event(self) -> Any:
        """What happens next."""
        while (event := self.connection.next_event()) is None:
            data = self.sock.recv(PIECE)
            self.heard += data
            self.connection.receive(data)
        return event

    def close(self) -> None:
        """Leave."""
        self.sock.close()


class Board(Speaker):
    """The client."""

    connection: ClientConnection

    def ask(self, request: Request[Any]) -> None:
        """Send a request."""
        self.send(self.connection.ask(request))

    def answer(self) -> tuple[list[LogMessage], Any]:
        """What is said, and the answer, or the text of an error."""
        said = []
        while isinstance(event := self.event(), worker.Logged):
            said.append(event.message)
        if isinstance(event, worker.Failed):
            return said, event.error.message
        assert isinstance(event, worker.Replied), event
        return said, event.value

    def body(self) -> bytes:
        """The body of an answer."""
        pieces = []
        while isinstance(event := self.event(), worker.ReplyData):
            pieces.append(event.data)
        assert isinstance(event, worker.ReplyEnd), event
        return b"".join(pieces)


class Daemon(Speaker):
    """The nix-daemon."""

    connection: ServerConnection

    def asked(self) -> Request[Any]:
        """The next request."""
        event = self.event()
        assert isinstance(event, worker.Asked), event
        return event.request

    def body(self, size: int | None = None) -> bytes:
        """The body of a request: all of it, or at least so many bytes."""
        found = b""
        while size is None or len(found) < size:
            event = self.event()
            if isinstance(event, worker.BodyEnd):
                return found
            found += event.data
        return found

    def reply(self, value: Any) -> None:
        """Answer."""
        self.send(self.connection.reply(value))


class Scene:
    """A lane and both sides, whose handshakes are over."""

    def __init__(self, number: Number, offer: Number, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        near, outside = socket.socketpair()
        self._sockets = [near, outside]
        connection = ServerConnection()
        self.board = Board(outside, ClientConnection(newest=number))
        shake(self.board.connection, connection)
        self.client = Client(_stream(near), connection, deadlines)
        self.offer = offer
        self.connect()

    def connect(self) -> None:
        """Use another connection to the daemon."""
        far, outside = socket.socketpair()
        self._sockets += [far, outside]
        connection = ClientConnection()
        self.daemon = Daemon(outside, ServerConnection(newest=self.offer))
        shake(connection, self.daemon.connection)
        self.lane = Lane(
            self.client,
            Upstream("nix-daemon", _stream(far), connection, self.deadlines),
            self.deadlines,
        )

    def end(self) -> None:
        """Hang up on whoever still waits."""
        for each in self._sockets:
            if each.fileno() >= 0:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def close(self) -> None:
        """Close everything."""
        for each in self._sockets:
            each.close()


def _stream(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


def shake(client: ClientConnection, server: ServerConnection) -> None:
    """See a handshake through."""
    server.receive(client.hello())
    while True:
        greeted = server.next_event()
        if said := server.to_send():
            client.receive(said)
        if greeted is not None:
            client.receive(server.welcome("2.34.8", Trust.TRUSTED))
        if client.next_event() is not None:
            return
        server.receive(client.to_send())


@contextmanager
def scene(
    number: Number = NEWEST, offer: Number = NEWEST, **deadlines: float
) -> Iterator[tuple[Scene, Callable[[Callable[[], Any]], "Future[Any]"]]]:
    """A scene, and who runs things in another thread; these are ended with the block."""
    found = Scene(number, offer, replace(Deadlines(), **deadlines))
    try:
        with ThreadPoolExecutor() as pool:
            try:
                yield found, pool.submit
            finally:
                found.end()
    finally:
        found.close()


def is_well(found: Scene) -> None:
    """The session goes on, and questions and answers belong together."""
    question = IsValidPath(StorePath.of("0" * 32 + "-asked"))
    found.board.ask(question)
    assert found.daemon.asked() == question
    found.daemon.reply(value=True)
    assert found.board.answer() == ([], True)
