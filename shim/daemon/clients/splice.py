"""An operator's session: client and nix-daemon joined byte by byte, foreign builds taken out.

Nothing is decoded for the sake of passing it on: versions, features, trust, logs, errors, and what
later releases may add reach the other end as they were said, each way as fast as it is taken.
`protocol.worker.follower` looks on; a build request that is ours to judge is kept back and answered
by `shim.daemon.clients.session`.  A session that cannot be followed is passed on unjudged.
"""

from collections import deque
from contextlib import AsyncExitStack
from typing import Final

import structlog
import trio

from protocol.errors import RemoteProtocolError
from protocol.transcript.record import Direction
from protocol.wire.source import WORD
from protocol.worker import stderr
from protocol.worker.client import ClientConnection
from protocol.worker.events import Asked, Greeted
from protocol.worker.follower import Followed, Follower
from protocol.worker.messages import QueryMissing, SetOptions
from protocol.worker.server import ServerConnection
from shim.daemon.clients.client import Pipe
from shim.daemon.clients.passing import Joint, Silent, Then, in_thread
from shim.daemon.clients.session import Session
from shim.daemon.clients.sessions import Live
from shim.daemon.clients.taping import tape_of
from shim.daemon.clients.who import Who
from shim.daemon.nix.dialing import dial
from shim.daemon.nix.upstream import CHUNK, DaemonLost, DaemonRefused, Upstream
from shim.daemon.services import Services
from shim.errors import ShimError

log = structlog.get_logger()

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

_LAST: Final = WORD.pack(stderr.LAST)
"""What a daemon ends the handshake with."""


class OperatorSession:
    """See the module."""

    def __init__(self, services: Services, stream: Pipe, who: Who, head: bytes, live: Live) -> None:
        """See the class.

        Args:
            services: what all sessions share.
            stream: the connection; closed by whoever opened it.
            who: the operator at its other end.
            head: bytes of the protocol that were received already.
            live: is told when bytes pass.
        """
        self._services = services
        self._who = who
        self._stream = stream
        self._tape = tape_of(stream)
        self._head = head
        self._live = live
        judged = services.config.judge_operators
        self._follower = Follower(services.config.store_dir) if judged else None
        self._held: deque[bytes] = deque()
        self._sent = 0
        self._at_end = False
        """Whether the client will say no more."""
        self._unheard = False
        """Whether nothing has been heard of the daemon since it was asked something."""
        self._ahead = False
        """Whether the client asks ahead of answers; which of them have come nobody knows then."""
        self._options: SetOptions | None = None
        self._judge: Session | None = None
        self._asked: Asked | None = None
        """The request that may be ours."""
        self._request = b""
        """Its bytes."""
        self._closing = AsyncExitStack()
        self._joint: Joint

    async def run(self) -> None:
        """Serve the client until it or the nix-daemon ends the session.

        Raises:
            ClientGone: the client left while a build of ours was under way.
        """
        async with self._closing:
            try:
                daemon = await self._connect()
            except OSError as error:
                await self._refuse(str(error))
                return
            self._join(daemon)
            self._hold(self._head)
            try:
                while (
                    asked := await in_thread(self._pass_on, self._stream.socket, daemon.socket)
                ) is not None:
                    if not await self._session().makes(asked, self._options):
                        self._joint.to_far(self._request)
                        self._unheard = True
                        continue
                    await self._answer(asked)
                    if not isinstance(asked.request, QueryMissing):
                        # The nix-daemon's process remembers what it missed: another one hears of
                        # what was made.  The old connection stays open: it protects what the
                        # client has uploaded.
                        daemon = await self._reconnect()
                        self._join(daemon)
            except (DaemonLost, DaemonRefused, ShimError) as error:
                log.warning("operator-dropped", why=str(error))

    async def _connect(self) -> trio.SocketStream:
        return await self._closing.enter_async_context(await dial(self._services.serving))

    def _join(self, daemon: trio.SocketStream) -> None:
        deadlines = self._services.config.deadlines
        self._joint = Joint(self._stream.socket, daemon.socket, deadlines.idle, deadlines.transfer)

    async def _refuse(self, why: str) -> None:
        """Greet the client only to say that there is no nix-daemon."""
        log.warning("operator-refused", why=why)
        connection = ServerConnection(self._services.config.store_dir)
        connection.receive(self._head)
        try:
            with trio.move_on_after(self._services.config.deadlines.handshake):
                while connection.next_event() is None:
                    await self._stream.send_all(connection.to_send())
                    connection.receive(bytes(await self._stream.receive_some(CHUNK)))
                text = f"cannot reach the serving nix-daemon at `{self._services.serving}`: {why}"
                await self._stream.send_all(connection.refuse(text))
        except (*GONE, RemoteProtocolError):
            return

    # -- in a thread

    def _pass_on(self) -> Asked | None:
        """Pass on what either says until a request is ours; None at the end of the session."""
        self._asked = None
        try:
            if self._release() is not Then.STOP:
                self._joint.run(self._client_says, self._daemon_says)
            self._joint.flush()
        except Silent as error:
            log.warning("operator-dropped", why=str(error))
            return None
        except OSError:
            return None
        return self._asked

    def _client_says(self, data: bytes) -> Then:
        self._live.stirred = True
        if data and self._tape is not None:
            self._tape.note(Direction.TO_SERVER, data)
        if not data:
            self._at_end = True
        elif self._follower is None:
            return Then.PASS_ON
        elif not self._held:
            asks = self._follower.awaits_request
            if self._follower.skim(data):
                self._sent += len(data)
                if asks:
                    self._note_question()
                return Then.PASS_ON
        self._hold(data)
        return self._release()

    def _daemon_says(self, data: bytes) -> Then:
        if not data:
            return Then.STOP
        self._unheard = False
        self._live.stirred = True
        if self._tape is not None:
            self._tape.note(Direction.TO_CLIENT, data)
        if self._follower is None or not self._follower.awaits_daemon:
            return Then.PASS_ON
        try:
            self._follower.from_daemon(data)
        except RemoteProtocolError as error:
            self._stop_following(error)
        self._joint.to_near(data)
        return self._release(data)

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            if self._follower is not None:
                self._follower.from_client(data)

    def _release(self, heard: bytes = b"") -> Then:
        """Pass on what the client has said as far as it is known to be none of ours.

        Args:
            heard: what the daemon has just said.
        """
        event: Followed | None = None
        while self._follower is not None:
            before = self._follower.position
            try:
                event = self._follower.next_event()
            except RemoteProtocolError as error:
                self._stop_following(error)
                break
            match event:
                # Of a client that asks ahead of answers everything is the daemon's: it answers in
                # order, and only it knows when it has.
                case Asked() if self._waits() and self._session().takes(event):
                    self._joint.to_far(self._take(before))
                    self._request = self._take(self._follower.position)
                    self._asked = event
                    return Then.STOP
                case Asked(request=request):
                    if isinstance(request, SetOptions):
                        self._options = request
                    self._note_question()
                case Greeted(dialect):
                    self._unheard = not heard.endswith(_LAST)
                    log.info("operator-opened", version=str(dialect))
                case None:
                    break
                case _:
                    pass
        if self._follower is None or (self._at_end and self._follower.awaits_client):
            self._joint.to_far(b"".join(self._held))
            self._held.clear()
            if self._at_end:
                # A client that will say no more may still listen; once it is gone, its daemon has
                # to know: nix-daemons end what they do for one that hangs up (`MonitorFdHup`).
                self._joint.finish_far()
                self._at_end = False
        else:
            self._joint.to_far(self._take(self._follower.position))
        return Then.GO_ON

    def _note_question(self) -> None:
        self._ahead |= self._unheard
        self._unheard = True

    def _waits(self) -> bool:
        """Whether the client has heard all answers."""
        return not (self._ahead or self._unheard)

    def _take(self, position: int) -> bytes:
        """What is held, up to that byte of all that the client has said."""
        count, self._sent = position - self._sent, position
        taken = []
        while count:
            piece = self._held.popleft()
            if len(piece) > count:
                self._held.appendleft(piece[count:])
                piece = piece[:count]
            taken.append(piece)
            count -= len(piece)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _stop_following(self, error: RemoteProtocolError) -> None:
        log.warning("operator-not-judged", why=str(error))
        self._follower = None

    def _session(self) -> Session:
        """Who judges; made once the dialect is known."""
        assert self._follower is not None
        if self._judge is None:
            connection = ServerConnection.between(self._follower.dialect)
            self._judge = Session(self._services, self._stream, self._who, b"", connection)
            self._closing.push_async_callback(self._judge.close)
        return self._judge

    # -- in the event loop

    async def _answer(self, asked: Asked) -> None:
        """Judge a build.  What the client sends ahead meanwhile is looked at afterwards."""
        self._live.doing = asked.operation.name
        try:
            ahead = await self._session().judge(asked, self._options)
        finally:
            self._live.doing = ""
        self._hold(ahead)

    async def _reconnect(self) -> trio.SocketStream:
        assert self._follower is not None
        config, dialect = self._services.config, self._follower.dialect
        stream = await self._connect()
        upstream = Upstream(
            "serving nix-daemon",
            stream,
            ClientConnection(config.store_dir, dialect.number, dialect.features),
            config.deadlines,
        )
        await upstream.greet()
        if self._options is not None:
            await upstream.ask(self._options)
        return stream
