"""An operator's session: client and nix-daemon joined byte by byte, foreign builds taken out.

Nothing is decoded for the sake of passing it on: versions, features, trust, logs, errors, and what
later releases may add reach the other end as they were said, each way as fast as it is taken.
`protocol.worker.follower` looks on; a build request that is ours to judge is kept back and answered
by `shim.daemon.clients.session`.  A session that cannot be followed is passed on unjudged.

One thread for each direction (`shim.daemon.clients.passing`).  What the client says is passed on by
the one that reads it, except where the daemon has to be heard first; `_lock` keeps that in order.
"""

import threading
import time
from collections import deque
from contextlib import AsyncExitStack
from typing import Final

import structlog
import trio

from protocol.errors import RemoteProtocolError
from protocol.transcript.record import Direction
from protocol.worker.client import ClientConnection
from protocol.worker.events import Asked, Greeted
from protocol.worker.follower import Follower
from protocol.worker.messages import SetOptions
from protocol.worker.server import ServerConnection
from shim.daemon.clients.client import ClientGone, Pipe
from shim.daemon.clients.passing import BULK, CHUNK, End, Pouring
from shim.daemon.clients.session import Session
from shim.daemon.clients.sessions import Live
from shim.daemon.clients.taping import Taped
from shim.daemon.clients.who import Who
from shim.daemon.nix.dialing import dial
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Upstream
from shim.daemon.services import Services
from shim.errors import ShimError

log = structlog.get_logger()

GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)

THREADS: Final = trio.CapacityLimiter(1 << 16)
"""No limit of its own: sessions are limited where they are admitted."""


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
        self._tape = stream.tape if isinstance(stream, Taped) else None
        self._head = head
        self._live = live
        self._clock = trio.current_time() - time.perf_counter()
        judged = services.config.judge_operators
        self._follower = Follower(services.config.store_dir) if judged else None
        self._held: deque[bytes] = deque()
        self._sent = 0
        self._at_end = False
        """Whether the client will say no more."""
        self._lock = threading.Lock()
        self._options: SetOptions | None = None
        self._judge: Session | None = None
        self._closing = AsyncExitStack()
        self._nursery: trio.Nursery
        self._ends: list[End] = []
        self._client: End
        self._daemon: End
        self._ended: list[Exception] = []

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
            self._client = self._end(self._stream)
            self._daemon = self._end(daemon)
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._hear_daemon, self._daemon)
                self._nursery.start_soon(self._hear_client)
                self._nursery.start_soon(self._until_cancelled)
        for why in self._ended:
            if isinstance(why, ClientGone):
                raise why
            log.warning("operator-dropped", why=str(why))

    async def _connect(self) -> trio.SocketStream:
        return await self._closing.enter_async_context(await dial(self._services.serving))

    def _end(self, stream: Pipe) -> End:
        end = End(stream.socket, self._services.config.deadlines.idle)
        self._closing.callback(end.close)
        self._ends.append(end)
        return end

    async def _hear_daemon(self, daemon: End) -> None:
        await trio.to_thread.run_sync(self._downwards, daemon, limiter=THREADS)
        if daemon is self._daemon:
            self._nursery.cancel_scope.cancel()

    async def _hear_client(self) -> None:
        await trio.to_thread.run_sync(self._upwards, limiter=THREADS)
        self._nursery.cancel_scope.cancel()

    async def _until_cancelled(self) -> None:
        """Threads cannot be cancelled: end what they wait for."""
        try:
            await trio.sleep_forever()
        finally:
            for end in self._ends:
                end.hang_up()

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

    def _stir(self) -> None:
        self._live.idle_from = self._clock + time.perf_counter()

    # -- in the thread that hears the daemon

    def _downwards(self, daemon: End) -> None:
        """Pass on what the daemon says; it ends the session by ending the connection."""
        pouring: Pouring | None = None
        try:
            while data := daemon.receive(CHUNK):
                self._stir()
                if self._tape is not None:
                    self._tape.note(Direction.TO_CLIENT, data)
                if self._awaits_daemon():
                    self._look_on(data)
                    self._client.send(data)
                    with self._lock:
                        self._pass_on()
                    continue
                self._client.send(data)
                if len(data) >= BULK and self._tape is None:
                    pouring = pouring or Pouring(daemon, self._client)
                    while not self._awaits_daemon() and pouring.pour():
                        self._stir()
        except OSError:
            pass
        finally:
            if pouring is not None:
                pouring.close()

    def _awaits_daemon(self) -> bool:
        return self._follower is not None and self._follower.awaits_daemon

    def _look_on(self, data: bytes) -> None:
        with self._lock:
            if self._follower is not None:
                try:
                    self._follower.from_daemon(data)
                except RemoteProtocolError as error:
                    self._stop_following(error)

    # -- in the thread that hears the client

    def _upwards(self) -> None:
        """Pass on what the client says, requests only once they are known to be none of ours."""
        data = self._head
        try:
            while data:
                self._stir()
                if self._follower is None:
                    self._daemon.send(data)
                else:
                    with self._lock:
                        self._held.append(data)
                        self._follower.from_client(data)
                        self._pass_on()
                data = self._client.receive(CHUNK)
                if data and self._tape is not None:
                    self._tape.note(Direction.TO_SERVER, data)
            # A client that will say no more may still listen; once it is gone, its daemon has to
            # know: nix-daemons end what they do for one that hangs up (`MonitorFdHup`).
            with self._lock:
                self._at_end = True
                self._pass_on()
            self._client.await_close()
        except (ClientGone, DaemonLost, DaemonRefused, ShimError) as error:
            self._ended.append(error)
        except OSError:
            return

    # -- in either, with the lock

    def _pass_on(self) -> None:
        """Pass on what has been understood by now, and at the end whatever there is."""
        self._pass_on_understood()
        if self._at_end and not self._awaits_daemon():
            while self._held:
                self._daemon.send(self._held.popleft())
            self._daemon.finish()

    def _pass_on_understood(self) -> None:
        """Pass on what has been understood by now; answer what is ours."""
        while self._follower is not None:
            try:
                event = self._follower.next_event()
            except RemoteProtocolError as error:
                self._stop_following(error)
                break
            match event:
                case Asked(request=SetOptions() as request):
                    self._options = request
                case Asked() if self._session().takes(event):
                    self._take(self._follower.position - self._sent)
                    trio.from_thread.run(self._answer, event)
                case Greeted(dialect):
                    log.info("operator-opened", version=str(dialect))
                case _:
                    pass
            for piece in self._take(self._follower.position - self._sent):
                self._daemon.send(piece)
            if event is None:
                return
        while self._held:
            self._daemon.send(self._held.popleft())

    def _take(self, count: int) -> list[bytes]:
        """The first bytes of what is held."""
        self._sent += count
        taken = []
        while count:
            piece = self._held.popleft()
            if len(piece) > count:
                self._held.appendleft(piece[count:])
                piece = piece[:count]
            taken.append(piece)
            count -= len(piece)
        return taken

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
        assert self._follower is not None
        self._live.doing = asked.operation.name
        try:
            ahead = await self._session().judge(asked, self._options)
        finally:
            self._live.doing = ""
        # The nix-daemon's process remembers what it missed: another one hears of what was made.
        # The old connection stays open: it protects what the client has uploaded.
        self._daemon = self._end(await self._reconnect())
        self._nursery.start_soon(self._hear_daemon, self._daemon)
        if ahead:
            self._held.append(ahead)
            self._follower.from_client(ahead)

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
