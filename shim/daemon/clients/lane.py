"""Client and nix-daemon of one session, served by one thread: questions up, answers down.

Passing a question on takes microseconds, of which an event loop would take most for itself.  What
is the same in every version (`protocol.worker.skimming`) is passed on as it is; all else is decoded
and encoded anew, since both may speak different versions.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from protocol.errors import LocalProtocolError
from protocol.store.naming import named
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
from shim.daemon.clients.ends import Ends, Listen
from shim.daemon.nix.upstream import CHUNK, DaemonLost, DaemonRefused

R = TypeVar("R")

Allows = Callable[[int, str], bool]
"""Number of an operation, path -> whether that may be passed on without a further look."""

Passed = Callable[[int, str, bytes], None]
"""Is told of what was: number, path, answer."""


class Lane(Ends):
    """See the module."""

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
        speakers = self._either_speaks(self._deadlines.reply)
        if not speakers:
            raise self._lost(f"was silent for {self._deadlines.reply:g} s")
        if self._near in speakers:
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
        return self.begin(request, listen, body)()

    def begin(
        self, request: Request[R], listen: Listen, body: Iterator[bytes] | None = None
    ) -> Callable[[], R]:
        """Ask the nix-daemon as `ask` does, and await the answer later.

        Returns:
            What awaits it and raises what `ask` does: to be called before anything else is asked.

        Raises:
            DaemonLost, LocalProtocolError, ClientGone, RemoteProtocolError: as `ask`.
        """
        return self._begin(self.upstream.request_bytes(request), listen, body)

    def _begin(
        self, request: bytes, listen: Listen, body: Iterator[bytes] | None
    ) -> Callable[[], Any]:
        self._to_daemon(request)
        early = None if body is None else self._send_body(body, listen)
        return lambda: self._answer(listen, early)

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

    def _daemon_event(self, silence: float) -> ClientEvent:
        while (event := self._next_of_daemon()) is None:
            self._await_daemon(silence)
            self._take_of_daemon(self._from_daemon())
        return event

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
            value = self._begin(request, listen, body)()
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
