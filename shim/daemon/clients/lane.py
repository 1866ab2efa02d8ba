"""Client and nix-daemon of one session, heard and answered by one thread that waits in the kernel.

Passing a question on takes microseconds, of which an event loop would take most for itself.  Both
protocols are spoken by the connections that the event loop uses too (`client`, `upstream`), so that
either can go on where the other stopped.  Every wait has a deadline; nothing is held that the
other side does not take.
"""

import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeVar

from protocol.errors import LocalProtocolError, ProtocolError
from protocol.store.naming import named
from protocol.transcript.record import Direction
from protocol.wire.operation import Body, Request
from protocol.worker import skimming
from protocol.worker.events import (
    Asked,
    BodyData,
    BodyEnd,
    ClientEvent,
    Failed,
    Logged,
    PeerClosed,
    Replied,
    ReplyData,
    ReplyEnd,
    ServerEvent,
)
from protocol.worker.messages import BuildDerivation
from protocol.worker.stderr import LogMessage
from shim.config import Deadlines
from shim.daemon.clients.client import Client, ClientGone
from shim.daemon.clients.passing import LONGEST
from shim.daemon.clients.taping import Taped
from shim.daemon.nix.upstream import CHUNK, DaemonLost, DaemonRefused, Upstream

R = TypeVar("R")

SOON: Final = 0.05
"""Seconds for which an answer is still awaited for a client that has closed its end."""

_WAITS: Final = ("idle", "transfer", "reply")

Listen = Callable[[LogMessage], None]

Allows = Callable[[int, str], bool]
"""Number of an operation, path -> whether that may be passed on without a further look."""

Passed = Callable[[int, str, bytes], None]
"""Is told of what was: number, path, answer."""


def _poll(*wanted: tuple[int, int]) -> Callable[[float], list[tuple[int, int]]]:
    poll = select.poll()
    for fd, events in wanted:
        poll.register(fd, events)
    return poll.poll


class Lane:
    """See the module."""

    def __init__(self, client: Client, upstream: Upstream, deadlines: Deadlines) -> None:
        self.client = client
        self.upstream = upstream
        waits = {each: min(getattr(deadlines, each), LONGEST) for each in _WAITS}
        self._deadlines = replace(deadlines, **waits)
        self._tape = client.pipe.tape if isinstance(client.pipe, Taped) else None
        self._near, self._far = client.pipe.socket.fileno(), upstream.socket.fileno()
        self._client_speaks = _poll((self._near, select.POLLIN))
        self._daemon_speaks = _poll((self._far, select.POLLIN))
        self._either_speaks = _poll((self._near, select.POLLIN), (self._far, select.POLLIN))
        self._client_takes = _poll((self._near, select.POLLOUT))
        self._daemon_takes = _poll((self._far, select.POLLOUT))
        self._daemon_takes_or_speaks = _poll((self._far, select.POLLOUT | select.POLLIN))
        self._listen: Listen | None = None
        """Who hears the daemon while a body is sent to it; nobody: it has nothing to say."""
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._early: ClientEvent | None = None
        """Its answer to a request whose body was still being sent."""

    # -- the client

    def next_request(self) -> Asked:
        """What the client asks next.

        Raises:
            ClientGone: it left, or was silent for too long.
            RemoteProtocolError: it broke the protocol.
        """
        asked = self._client_event(self._deadlines.idle)
        assert isinstance(asked, Asked), asked
        return asked

    def body(self) -> Iterator[bytes]:
        """The pieces of the body of the client's request.

        Raises:
            ClientGone, RemoteProtocolError: as `next_request`.
        """
        while isinstance(event := self._client_event(self._deadlines.transfer), BodyData):
            yield event.data
        assert isinstance(event, BodyEnd), event

    def skim(self, allows: Allows, passed: Passed) -> Asked | None:
        """Pass questions and answers on as they are, while they are the same in every version.

        Args:
            allows: whether a question may be passed on.
            passed: is told of each that was answered.

        Returns:
            A question that was passed on, of which the answer has to be looked at: `relay` goes on
            with it.  None: what the client says next is none of these.

        Raises:
            ClientGone, RemoteProtocolError, DaemonLost: as `relay`.
        """
        while self.client.connection.is_between:
            self._await_client(self._deadlines.idle)
            data = self._from_client()
            question = skimming.request(data)
            if question is None or not allows(*question):
                self.client.take(data)
                return None
            try:
                self._to_daemon(data)
                answer = self._first_words()
            except DaemonLost:
                self._look_at(data)  # so that the client can be told
                raise
            if not skimming.is_answer(question[0], answer):
                asked = self._look_at(data)
                self.upstream.request_bytes(asked.request)
                if answer:
                    self._take_of_daemon(answer)
                return asked
            self.tell(answer)
            passed(*question, answer)
        return None

    def _first_words(self) -> bytes:
        """What the daemon says first; nothing if the client says something before."""
        self._push()
        speakers = self._either_speaks(self._deadlines.reply * 1000)
        if not speakers:
            raise self._lost(f"was silent for {self._deadlines.reply:g} s")
        if any(fd == self._near for fd, _ in speakers):
            return b""
        if data := self._from_daemon():
            return data
        raise self._lost("closed the connection")

    def _look_at(self, question: bytes) -> Asked:
        """Read a question that was passed on without."""
        self.client.take(question)
        return self.next_request()

    def _client_event(self, silence: float) -> ServerEvent:
        connection = self.client.connection
        while (event := connection.next_event()) is None:
            if said := connection.to_send():
                self.tell(said)
            self._await_client(silence)
            self.client.take(self._from_client())
        if said := connection.to_send():
            self.tell(said)
        if isinstance(event, PeerClosed):
            raise self.client.closed()
        return event

    def _await_client(self, silence: float) -> None:
        """Wait for bytes of the client; hear the daemon too where it may have something to say."""
        self._push()
        end = time.monotonic() + silence
        while True:
            # Of a daemon that has answered early nothing more is awaited, its end neither.
            both = self._listen is not None and self._early is None
            speaks = self._either_speaks if both else self._client_speaks
            found = speaks(max(0, end - time.monotonic()) * 1000)
            if not found:
                raise ClientGone(f"silent for {silence:g} s", vanished=True)
            speakers = [fd for fd, _ in found]
            if self._far in speakers:
                self._overhear()
            if self._near in speakers:
                return

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
                if not self._client_takes(self._deadlines.transfer * 1000):
                    why = f"took nothing for {self._deadlines.transfer:g} s"
                    raise ClientGone(why, vanished=True) from None
                continue
            except OSError as error:
                raise self.client.closed() from error
            rest = memoryview(rest)[sent:] if sent < len(rest) else b""
        if self.client.connection.must_close:
            raise ClientGone("let go: nothing more can be said to it")

    def log(self, message: LogMessage) -> None:
        """Pass a log message on."""
        self.tell(self.client.connection.log(message))

    def reply(self, value: Any) -> None:
        """Answer the current request."""
        self.tell(self.client.connection.reply(value))

    def fail(self, text: str) -> None:
        """Answer the current request with an error."""
        self.tell(self.client.connection.fail_with(text))

    # -- the nix-daemon

    def ask(self, request: Request[R], listen: Listen, body: Iterator[bytes] | None = None) -> R:
        """Ask the nix-daemon and await its answer; the client may leave meanwhile.

        Args:
            request: the question.
            listen: hears the daemon's log meanwhile.
            body: what follows the request, where its operation has a body; it is read to its end
                unless the daemon refuses it earlier.

        Raises:
            DaemonRefused: its answer was an error.
            DaemonLost: there was no answer.
            LocalProtocolError: its version cannot be asked this.
            ClientGone, RemoteProtocolError: the client left, or broke the protocol.
        """
        answer: R = self._ask(self.upstream.request_bytes(request), listen, body)
        return answer

    def _ask(self, request: bytes, listen: Listen, body: Iterator[bytes] | None) -> Any:
        self._to_daemon(request)
        early = None if body is None else self._send_body(body, listen)
        return self._answer(listen, early)

    def _send_body(self, body: Iterator[bytes], listen: Listen) -> ClientEvent | None:
        """Send a body and listen at once: a daemon with much to say takes no more until heard."""
        connection = self.upstream.connection
        self._listen = listen
        try:
            for data in body:
                if self._early is not None:
                    break
                self._to_daemon(connection.body(data))
            # The daemon waits for the end even of a body that it has refused.
            self._to_daemon(connection.body_end())
            self._push()
        finally:
            self._listen = None
            early, self._early = self._early, None
        return early

    def _answer(self, listen: Listen, event: ClientEvent | None) -> Any:
        silence = self._deadlines.reply
        while True:
            match event or self._daemon_event(silence):
                case Logged(message):
                    listen(message)
                case Replied(value=value):
                    return value
                case Failed(error):
                    raise DaemonRefused(self.upstream.name, error)
                case other:
                    raise self._lost(f"sent {other} where an answer was due")

    def _lost(self, why: str) -> DaemonLost:
        return DaemonLost(self.upstream.name, why)

    def _daemon_event(self, silence: float) -> ClientEvent:
        while (event := self._next_of_daemon()) is None:
            self._await_daemon(silence)
            self._take_of_daemon(self._from_daemon())
        return event

    def _next_of_daemon(self) -> ClientEvent | None:
        try:
            event = self.upstream.connection.next_event()
        except ProtocolError as error:
            raise self._lost(f"broke the protocol: {error}") from error
        if isinstance(event, PeerClosed):
            raise self._lost("closed the connection")
        return event

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
            found = speaks(1000 * (SOON if gone else max(0, end - time.monotonic())))
            if not found:
                raise self.client.closed() if gone else self._lost(f"was silent for {silence:g} s")
            speakers = [fd for fd, _ in found]
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
                found = takes(self._deadlines.transfer * 1000)
                if not found:
                    raise self._lost(f"took no byte for {self._deadlines.transfer:g} s") from None
                if hears and found[0][1] & ~select.POLLOUT:
                    self._overhear()
                continue
            except OSError as error:
                if self._listen is None:
                    raise self._lost("closed the connection") from error
                while self._early is None:
                    self._overhear()  # it may have said why, at the latest its end is read
                return
            rest = memoryview(rest)[sent:] if sent < len(rest) else b""

    # -- both

    def relay(self, asked: Asked, listen: Listen, *, passed: bool = False) -> Any:
        """Pass the client's request to the daemon and its answer back.

        Both may speak different versions: requests and answers are decoded and encoded anew, bodies
        are passed on in the pieces in which they come.

        Args:
            asked: the request.
            listen: hears the daemon's log meanwhile.
            passed: whether the daemon has the request already (`skim`).

        Returns:
            The answer; None also for an error, of which the client has been told.

        Raises:
            ClientGone, RemoteProtocolError: the client left, or broke the protocol.
            DaemonLost: the connection to the daemon is of no more use.
        """
        connection = self.client.connection
        try:
            request = b"" if passed else self.upstream.request_bytes(asked.request)
        except LocalProtocolError as error:
            # What the client's version can ask, the daemon's may not know, or may not any more.
            version = self.upstream.daemon_version
            self.fail(f"the nix-daemon ({version}) cannot be asked: {error}")
            return None
        body = None if asked.operation.body is Body.NONE else self.body()
        try:
            value = self._ask(request, listen, body)
        except (DaemonRefused, DaemonLost) as error:
            # Only a client whose body has been read to its end hears an answer.
            for _ in body or ():
                pass
            if isinstance(error, DaemonLost):
                raise
            self.tell(connection.fail(error.error))
            return None
        if isinstance(asked.request, BuildDerivation):
            value = named(value, asked.request.derivation)
        try:
            reply = connection.reply(value)
        except LocalProtocolError as error:
            self.fail(f"the answer cannot be put for your version: {error}")
            return None
        if asked.operation.reply_body is Body.NONE:
            self.tell(reply)
        else:
            self._relay_reply_body(reply)
        return value

    def _relay_reply_body(self, head: bytes) -> None:
        """Pass a reply's body on: what comes together in one piece, since each wakes the client."""
        connection = self.client.connection
        pieces, ended = [head], False
        while not ended:
            match self._next_of_daemon():
                case ReplyData(data):
                    pieces.append(connection.reply_body(data))
                case ReplyEnd():
                    pieces.append(connection.reply_body_end())
                    ended = True
                case Failed(error):
                    raise DaemonRefused(self.upstream.name, error)
                case None:
                    self._tell_all(pieces)
                    self._pass_contents()
                    self._await_daemon(self._deadlines.transfer)
                    self._take_of_daemon(self._from_daemon())
                case event:
                    raise self._lost(f"sent {event} within a body")
        self._tell_all(pieces)

    def _pass_contents(self) -> None:
        """Pass a file of a NAR on: nothing in it matters, and its size has been said."""
        nar = self.upstream.connection
        while nar.contents_left:
            self._await_daemon(self._deadlines.transfer)
            data = self._from_daemon(min(CHUNK, nar.contents_left))
            if not data:
                raise self._lost("closed the connection")
            nar.skip_contents(len(data))
            self.tell(data)

    def _tell_all(self, pieces: list[bytes]) -> None:
        self.tell(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        pieces.clear()
