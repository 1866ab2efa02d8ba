"""One client's session: greet it, answer one operation after the other, end.

Builds are judged here and go to `requests`; all else is answered by `unjudged` in a thread, over a
connection of this session to the serving store's nix-daemon.  While an answer is under way the
client is watched: when it leaves, the connections that work for it are closed, and nix-daemons end
builds whose client is gone.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import structlog
import trio

from protocol.errors import RemoteProtocolError
from protocol.store.derived_path import DerivedPath
from protocol.worker.events import Asked, Greeted
from protocol.worker.handshake import Trust
from protocol.worker.messages import (
    BuildDerivation,
    BuildMode,
    BuildPaths,
    BuildPathsWithResults,
    EnsurePath,
    IsValidPath,
    QueryMissing,
    SetOptions,
)
from protocol.worker.server import ServerConnection
from shim.daemon.clients.backing import Backing
from shim.daemon.clients.client import Client, ClientGone, Pipe
from shim.daemon.clients.lane import Lane
from shim.daemon.clients.passing import in_thread
from shim.daemon.clients.requests import Requests, Sorted
from shim.daemon.clients.sessions import Live
from shim.daemon.clients.unjudged import NO_REPAIR, Unjudged
from shim.daemon.clients.uploads import Malformed
from shim.daemon.clients.who import Who
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused
from shim.daemon.services import Services
from shim.errors import ShimError
from shim.session.routes import Standing

__all__ = ["Services", "Session", "Who"]

T = TypeVar("T")

log = structlog.get_logger()

_NO_CHECK: Final = (
    "foreign derivations are not checked for boards: a native build would be compared with what may"
    " have been cross-compiled; the operator of this machine can do that"
)


class Session:
    """See the module."""

    def __init__(
        self,
        services: Services,
        stream: Pipe,
        who: Who,
        head: bytes,
        connection: ServerConnection | None = None,
    ) -> None:
        """See the class.

        Args:
            services: what all sessions of the domain share.
            stream: the connection; closed by whoever opened it.
            who: the peer or operator at its other end.
            head: bytes of the protocol that were received already.
            connection: the protocol's state where others have seen the handshake through.
        """
        self._services = services
        self._config = services.config
        self._who = who
        self._connection = connection or ServerConnection(self._config.store_dir)
        if head:
            self._connection.receive(head)
        deadlines = self._config.deadlines
        self._client = Client(stream, self._connection, deadlines, tells_endings=who.tells_endings)
        self._backing = Backing(services)
        self._unjudged = Unjudged(services, who, self._backing)
        self._lane: Lane | None = None
        self._requests = Requests(services, who, self._client.log, self._backing.connect)

    @property
    def _is_peer(self) -> bool:
        return self._who.standing is Standing.PEER

    async def run(self) -> None:
        """Serve the client until it leaves.

        Raises:
            ClientGone: it left, or was silent for too long.
            RemoteProtocolError: it broke the protocol; it has been told.
        """
        try:
            if await self._greet():
                with self._services.sessions.shown(self._who) as live:
                    while True:
                        await self._tell_failure(live, partial(self._serve, live))
                raise ClientGone("it asked nothing while the daemon stopped")
        except RemoteProtocolError as error:
            with suppress(ClientGone):
                await self._client.fail(str(error))
            raise
        finally:
            with trio.CancelScope(shield=True):
                await self.close()

    async def _serve(self, live: Live) -> None:
        """Answer requests up to the first that is judged."""
        try:
            await self._backing.get()
        except (ShimError, DaemonLost, DaemonRefused):
            await self._client.event(self._config.deadlines.idle)  # whoever asks is told
            raise
        await self._judge(await self._in_thread(partial(self._unjudged.serve, live=live)))

    async def _in_thread(self, work: Callable[[Lane], T]) -> T:
        """Do what needs client and nix-daemon, and neither judging nor the event loop."""
        upstream = await self._backing.get()
        if self._lane is None or self._lane.upstream is not upstream:
            self._lane = Lane(self._client, upstream, self._config.deadlines)
        work_with = partial(work, self._lane)
        return await in_thread(work_with, self._client.pipe.socket, upstream.socket)

    async def _relay(self, asked: Asked) -> None:
        await self._in_thread(partial(self._unjudged.relay, asked))

    async def _tell_failure(self, live: Live, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`; tell the client why it failed to get its answer."""
        try:
            await work()
        except DaemonRefused as refused:
            await self._client.send(self._connection.fail(refused.error))
        except DaemonLost as lost:
            await self._backing.lose()
            await self._client.fail(str(lost))
        except ShimError as error:
            if isinstance(error, Malformed):
                await self._backing.lose()  # it may wait for the rest of a NAR
            log.info("request-refused", operation=live.doing, why=str(error))
            await self._client.fail(str(error))
        finally:
            live.doing = ""

    def takes(self, asked: Asked) -> bool:
        """Whether a request asks for a build that is ours to judge; reads files."""
        match asked.request:
            case BuildDerivation(derivation=derivation, mode=BuildMode.NORMAL):
                return self._services.builds.judges(derivation)
            case (
                BuildPaths(paths=paths, mode=BuildMode.NORMAL)
                | BuildPathsWithResults(paths=paths, mode=BuildMode.NORMAL)
                | QueryMissing(paths=paths)
            ):
                graph = self._services.graph()
                return any(self._requests.wanted(path, graph) is not None for path in paths)
            case EnsurePath(path=path):
                root = self._services.domain.serving.root
                return not root.joinpath(path.lstrip("/")).exists()
            case _:
                return False

    async def makes(self, asked: Asked, settings: SetOptions | None) -> bool:
        """Whether a request that we take is really ours, as only the store's database tells.

        Args:
            asked: the request.
            settings: those that the client has sent last.
        """
        if not isinstance(asked.request, EnsurePath):
            return True
        self._backing.settings = settings
        try:
            upstream = await self._backing.get()
            return await self._requests.maker(asked.request.path, upstream) is not None
        except (ShimError, DaemonLost, DaemonRefused):
            await self._backing.lose()
            return False  # the client's own nix-daemon says what is wrong

    async def judge(self, asked: Asked, settings: SetOptions | None) -> bytes:
        """Answer one request that we take; whoever calls this serves all others.

        Args:
            asked: the request.
            settings: those that the client has sent last.

        Returns:
            What the client has sent meanwhile.

        Raises:
            ClientGone, RemoteProtocolError: the client left, or broke the protocol.
        """
        self._backing.settings = settings
        self._connection.take_over(asked)
        with self._services.sessions.shown(self._who) as live:
            live.doing = asked.operation.name
            await self._tell_failure(live, partial(self._judge, asked))
        return self._connection.unread()

    async def close(self) -> None:
        """End the connections that work for this session."""
        await self._backing.close()

    async def _greet(self) -> bool:
        greeted = await self._client.event(self._config.deadlines.handshake)
        assert isinstance(greeted, Greeted), greeted
        try:
            upstream = await self._backing.get()
        except (ShimError, DaemonLost, DaemonRefused) as error:
            await self._client.send(self._connection.refuse(str(error)))
            return False
        trusted = not self._is_peer or self._config.trust_boards
        await self._client.send(
            self._connection.welcome(
                upstream.daemon_version, Trust.TRUSTED if trusted else Trust.NOT_TRUSTED
            )
        )
        log.info(
            "client-opened", standing=self._who.standing.value, version=str(greeted.dialect.number)
        )
        return True

    async def _judge(self, asked: Asked) -> None:
        mode = getattr(asked.request, "mode", BuildMode.NORMAL)
        if self._is_peer and mode is BuildMode.REPAIR:
            await self._client.fail(NO_REPAIR)
            return
        match asked.request:
            case BuildDerivation():
                await self._judge_flat(asked, asked.request)
            case BuildPaths(paths=paths) | BuildPathsWithResults(paths=paths):
                await self._judge_paths(asked, paths)
            case QueryMissing(paths=paths):
                await self._judge_missing(paths)
            case EnsurePath():
                await self._judge_path(asked, asked.request)
            case _:
                await self._relay(asked)

    async def _judge_flat(self, asked: Asked, request: BuildDerivation) -> None:
        requests, dropped = self._requests, self._unjudged.intake.dropped
        ours = self._services.builds.judges(request.derivation)
        if why := await requests.flat_refusal(request, dropped):
            log.warning("build-refused", derivation=request.path, why=why)
            await self._client.send(self._connection.reply(await requests.refuse(why)))
        elif ours and request.mode is BuildMode.NORMAL:
            result = await self._client.while_listening(
                lambda: requests.build_flat(request, dropped), requests.gone
            )
            await self._backing.renew()
            await self._client.send(self._connection.reply(result))
        elif ours and self._is_peer and not request.derivation.is_fixed:
            await self._client.fail(_NO_CHECK)
        else:
            await self._relay(asked)

    async def _judge_paths(self, asked: Asked, paths: tuple[DerivedPath, ...]) -> None:
        """Answer a request for several paths, of which some may be ours to make."""
        assert isinstance(asked.request, BuildPaths | BuildPathsWithResults)
        found = await self._requests.sort(paths)
        for why in found.refused.values():
            log.warning("build-refused", why=why)
        if asked.request.mode is not BuildMode.NORMAL:
            await self._check(asked, found)
            return
        found.below.extend(await self._requests.below(found, await self._backing.get()))
        if not (found.refused or found.ours or found.below):
            await self._relay(asked)
            return
        settings = self._backing.settings
        keep_going = settings is not None and settings.keep_going
        results = await self._client.while_listening(
            lambda: self._requests.build_all(found, keep_going=keep_going), self._requests.gone
        )
        await self._backing.renew()
        if isinstance(asked.request, BuildPathsWithResults):
            answer = tuple((path, results[path]) for path in paths)
            await self._client.send(self._connection.reply(answer))
            return
        failed = [each.error_message for each in results.values() if not each.is_success]
        if failed:
            await self._client.fail("\n".join(dict.fromkeys(failed)))
        else:
            await self._client.send(self._connection.reply(None))

    async def _check(self, asked: Asked, found: Sorted) -> None:
        """Answer a request to check or to repair."""
        if self._is_peer and not all(each.derivation.is_fixed for each in found.ours.values()):
            await self._client.fail(_NO_CHECK)
        elif found.refused:
            await self._client.fail("\n".join(dict.fromkeys(found.refused.values())))
        else:
            await self._relay(asked)

    async def _judge_missing(self, paths: tuple[DerivedPath, ...]) -> None:
        upstream = await self._backing.get()
        answer = await self._client.while_listening(
            lambda: self._requests.missing(paths, upstream), self._requests.gone
        )
        await self._client.send(self._connection.reply(answer))

    async def _judge_path(self, asked: Asked, request: EnsurePath) -> None:
        """Make a missing path if a foreign derivation of the store makes it."""
        upstream = await self._backing.get()
        made = None
        if not await upstream.ask(IsValidPath(request.path)):
            made = await self._client.while_listening(
                lambda: self._requests.ensure(request.path, upstream), self._requests.gone
            )
        if made is None:
            await self._relay(asked)
            return
        await self._backing.renew()
        if made.is_success:
            await self._client.send(self._connection.reply(None))
        else:
            await self._client.fail(made.error_message)
