"""An operator's session: client and nix-daemon joined byte by byte, foreign builds taken out.

Nothing is decoded for the sake of passing it on: versions, features, trust, logs, errors, and what
later releases may add reach the other end as they were said, each way as fast as it is taken.
`protocol.worker.follower` looks on; a build request that is ours to judge is kept back and answered
by `shim.daemon.session`.  A session that cannot be followed is passed on unjudged.
"""

from collections import deque
from contextlib import AsyncExitStack

import structlog
import trio

from protocol.errors import RemoteProtocolError
from protocol.worker.client import ClientConnection
from protocol.worker.events import Asked, Greeted
from protocol.worker.follower import Follower
from protocol.worker.messages import SetOptions
from protocol.worker.server import ServerConnection
from shim.daemon.client import ClientGone, Pipe
from shim.daemon.session import Services, Session, Who
from shim.daemon.sessions import Live
from shim.daemon.upstream import CHUNK, DaemonLost, DaemonRefused, Upstream
from shim.errors import ShimError

log = structlog.get_logger()

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class OperatorSession:
    """See the module."""

    def __init__(self, services: Services, stream: Pipe, who: Who, head: bytes, live: Live) -> None:
        """See the class.

        Args:
            services: what all sessions share.
            stream: the connection; closed by whoever opened it.
            who: the operator at its other end.
            head: bytes of the protocol that were received already.
            live: is told that bytes pass.
        """
        self._live = live
        self._services = services
        self._who = who
        self._client = stream
        self._daemon: trio.SocketStream
        self._head = head
        judged = services.config.judge_operators
        self._follower = Follower(services.config.store_dir) if judged else None
        self._held: deque[bytes] = deque()
        self._sent = 0
        self._passing = trio.Lock()
        self._options: SetOptions | None = None
        self._judge: Session | None = None
        self._closing = AsyncExitStack()
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Serve the client until it or the nix-daemon ends the session.

        Raises:
            ClientGone: the client left while a build of ours was under way.
        """
        async with self._closing:
            try:
                self._daemon = await self._connect()
            except OSError as error:
                await self._refuse(str(error))
                return
            ended: list[Exception] = []
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._downwards, self._daemon)
                try:
                    await self._upwards()
                except GONE:
                    nursery.cancel_scope.cancel()
                except (ClientGone, DaemonLost, DaemonRefused, ShimError) as error:
                    ended.append(error)
                    nursery.cancel_scope.cancel()
            for why in ended:
                if isinstance(why, ClientGone):
                    raise why
                log.warning("operator-dropped", why=str(why))

    async def _connect(self) -> trio.SocketStream:
        return await self._closing.enter_async_context(
            await trio.open_unix_socket(str(self._services.serving))
        )

    async def _refuse(self, why: str) -> None:
        """Greet the client only to say that there is no nix-daemon."""
        log.warning("operator-refused", why=why)
        connection = ServerConnection(self._services.config.store_dir)
        connection.receive(self._head)
        try:
            with trio.move_on_after(self._services.config.deadlines.handshake):
                while connection.next_event() is None:
                    await self._client.send_all(connection.to_send())
                    connection.receive(bytes(await self._client.receive_some(CHUNK)))
                text = f"cannot reach the serving nix-daemon at `{self._services.serving}`: {why}"
                await self._client.send_all(connection.refuse(text))
        except (*GONE, RemoteProtocolError):
            return

    async def _downwards(self, daemon: trio.SocketStream) -> None:
        """Pass on what the daemon says; it ends the session by ending the connection."""
        try:
            while data := await daemon.receive_some(CHUNK):
                self._live.stir()
                follower = self._follower
                if follower is not None and follower.awaits_daemon:
                    self._look_on(data)
                    await self._client.send_all(data)
                    await self._pass_on()
                else:
                    await self._client.send_all(data)
        except GONE:
            pass
        if daemon is self._daemon:
            self._nursery.cancel_scope.cancel()

    def _look_on(self, data: bytes) -> None:
        assert self._follower is not None
        try:
            self._follower.from_daemon(data)
        except RemoteProtocolError as error:
            self._stop_following(error)

    async def _upwards(self) -> None:
        """Pass on what the client says, requests only once they are known to be none of ours."""
        data = self._head
        while data:
            self._live.stir()
            if self._follower is None:
                await self._daemon.send_all(data)
            else:
                self._held.append(data)
                self._follower.from_client(data)
                await self._pass_on()
            data = bytes(await self._client.receive_some(CHUNK))
        # A daemon learns from the end of what is sent that its client is gone, and closes.
        await self._daemon.send_eof()

    async def _pass_on(self) -> None:
        """Pass on what has been understood by now; answer what is ours."""
        async with self._passing:
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
                        await self._answer(event)
                    case Greeted(dialect):
                        log.info("operator-opened", version=str(dialect))
                    case _:
                        pass
                for piece in self._take(self._follower.position - self._sent):
                    await self._daemon.send_all(piece)
                if event is None:
                    return
            while self._held:
                await self._daemon.send_all(self._held.popleft())

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
            self._judge = Session(self._services, self._client, self._who, b"", connection)
            self._closing.push_async_callback(self._judge.close)
        return self._judge

    async def _answer(self, asked: Asked) -> None:
        """Judge a build.  What the client sends ahead meanwhile is looked at afterwards."""
        assert self._follower is not None
        ahead = await self._session().judge(asked, self._options)
        # The nix-daemon's process remembers what it missed: another one hears of what was made.
        # The old connection stays open: it protects what the client has uploaded.
        self._daemon = await self._reconnect()
        self._nursery.start_soon(self._downwards, self._daemon)
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
