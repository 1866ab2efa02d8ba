"""The sockets of a client and of the nix-daemon of its session, for one thread.

Reads, writes and waits for both; the protocols are spoken by the connections that the event loop
uses too (`client`, `upstream`), so that either can go on where the other stopped.  Every wait has a
deadline, and what one side does not take is not read from the other.
"""

import os
import select
import time
from collections.abc import Callable
from typing import Final

from protocol.errors import ProtocolError
from protocol.transcript.record import Direction
from protocol.worker.events import ClientEvent, Logged, PeerClosed
from protocol.worker.stderr import LogMessage
from shim.config import Deadlines
from shim.daemon.clients.client import Client, ClientGone
from shim.daemon.clients.taping import tape_of
from shim.daemon.clients.waiting import wait_for
from shim.daemon.nix.upstream import CHUNK, DaemonLost, Upstream

SOON: Final = 0.05
"""Seconds for which an answer is still awaited for a client that has closed its end."""

Listen = Callable[[LogMessage], None]

Wait = Callable[[float], list[int]]
"""Seconds -> who may be served; nobody: they are over."""


def _wait_for(*wanted: tuple[int, int]) -> Wait:
    wait = wait_for(*wanted)
    return lambda seconds: [fd for fd, _ in wait(seconds)]


class Ends:
    """See the module."""

    def __init__(self, client: Client, upstream: Upstream, deadlines: Deadlines) -> None:
        self.client = client
        self.upstream = upstream
        self._deadlines = deadlines
        self._tape = tape_of(client.pipe)
        self._near, self._far = client.pipe.socket.fileno(), upstream.socket.fileno()
        self._client_speaks = _wait_for((self._near, select.POLLIN))
        self._daemon_speaks = _wait_for((self._far, select.POLLIN))
        self._either_speaks = _wait_for((self._near, select.POLLIN), (self._far, select.POLLIN))
        self._client_takes = _wait_for((self._near, select.POLLOUT))
        self._daemon_takes = _wait_for((self._far, select.POLLOUT))
        self._daemon_takes_or_speaks = _wait_for((self._far, select.POLLOUT | select.POLLIN))
        self._listen: Listen | None = None
        """Who hears the daemon while a body is sent to it; nobody: it has nothing to say."""
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._early: ClientEvent | None = None
        """Its answer to a request whose body was still being sent."""

    def _await_client(self, silence: float) -> None:
        """Wait for bytes of the client; hear the daemon too where it may have something to say."""
        self._push()
        end = time.monotonic() + silence
        while True:
            # Of a daemon that has answered early nothing more is awaited, its end neither.
            both = self._listen is not None and self._early is None
            speaks = self._either_speaks if both else self._client_speaks
            left = end - time.monotonic()
            speakers = speaks(left)
            if self._far in speakers:
                self._overhear()
            if self._near in speakers:
                return
            if not speakers or left < 0:
                raise ClientGone(f"silent for {silence:g} s", vanished=True)

    def _from_client(self) -> bytes:
        try:
            data = os.read(self._near, CHUNK)
        except OSError as error:
            raise ClientGone("reset", vanished=True) from error
        if self._tape is not None and data:
            self._tape.note(Direction.TO_SERVER, data)
        return data

    def tell(self, data: bytes) -> None:
        """Send to the client, which has to take some of it before each transfer deadline.

        Raises:
            ClientGone: it does not, or nothing more can be said to it.
        """
        if data and self._tape is not None:
            self._tape.note(Direction.TO_CLIENT, data)
        rest: bytes | memoryview = data
        while rest:
            try:
                sent = os.write(self._near, rest)
            except BlockingIOError:
                if not self._client_takes(self._deadlines.transfer):
                    why = f"took nothing for {self._deadlines.transfer:g} s"
                    raise ClientGone(why, vanished=True) from None
                continue
            except OSError as error:
                raise self.client.closed() from error
            rest = memoryview(rest)[sent:] if sent < len(rest) else b""
        if self.client.connection.must_close:
            raise ClientGone("let go: nothing more can be said to it")

    def _lost(self, why: str) -> DaemonLost:
        return DaemonLost(self.upstream.name, why)

    def _await_daemon(self, silence: float) -> None:
        """Wait for bytes of the daemon while the client is there.

        What the client sends meanwhile is read up to a piece, so that its end is seen.
        """
        self._push()
        end = time.monotonic() + silence
        client = self.client.connection
        while True:
            gone = client.is_closed
            speaks = self._daemon_speaks if gone or client.ahead else self._either_speaks
            speakers = speaks(SOON if gone else end - time.monotonic())
            if not speakers:
                raise self.client.closed() if gone else self._lost(f"was silent for {silence:g} s")
            if self._near in speakers:
                self.client.take(self._from_client())
            if self._far in speakers:
                return

    def _from_daemon(self, most: int = CHUNK) -> bytes:
        """What the daemon says, at its end included; whoever waited for it knows that it does."""
        try:
            return os.read(self._far, most)
        except OSError as error:
            raise self._lost("closed the connection") from error

    def _take_of_daemon(self, data: bytes) -> None:
        try:
            self.upstream.connection.receive(data)
        except ProtocolError as error:
            raise self._lost(f"broke the protocol: {error}") from error

    def _next_of_daemon(self) -> ClientEvent | None:
        try:
            event = self.upstream.connection.next_event()
        except ProtocolError as error:
            raise self._lost(f"broke the protocol: {error}") from error
        if isinstance(event, PeerClosed):
            raise self._lost("closed the connection")
        return event

    def _overhear(self) -> None:
        """Hear the daemon while something is sent to it; what is no body has its answer later."""
        self._take_of_daemon(self._from_daemon())
        if self._listen is None:
            return
        while self._early is None and (event := self._next_of_daemon()) is not None:
            if isinstance(event, Logged):
                self._listen(event.message)
            else:
                self._early = event

    def _to_daemon(self, data: bytes) -> None:
        """Send to the daemon, at the latest before anybody is waited for.

        Each write wakes it, and what belongs to one upload often comes in several pieces.
        """
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size >= CHUNK:
            self._push()

    def _push(self) -> None:
        rest: bytes | memoryview = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_size = 0
        while rest:
            try:
                sent = os.write(self._far, rest)
            except BlockingIOError:
                hears = self._early is None
                takes = self._daemon_takes_or_speaks if hears else self._daemon_takes
                if not takes(self._deadlines.transfer):
                    raise self._lost(f"took no byte for {self._deadlines.transfer:g} s") from None
                if hears and self._daemon_speaks(0):
                    self._overhear()
                continue
            except OSError as error:
                if self._listen is None:
                    raise self._lost("closed the connection") from error
                while self._early is None:
                    self._overhear()  # it may have said why, at the latest its end is read
                return
            rest = memoryview(rest)[sent:] if sent < len(rest) else b""
