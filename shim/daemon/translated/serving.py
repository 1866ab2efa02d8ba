"""Sessions of the serve protocol (`ssh://`), translated to worker operations of the same peer.

What `nix-store --serve --write` does, told in other words: every command becomes operations of an
ordinary worker session.  Logs of builds go to standard error as lines, as there; nothing is written
on it before the first command.  The protocol has no errors: a command that fails ends the session,
its reason on standard error, exit code 1.  The two build commands alone answer with the failure.
Checked against Nix's `opServe`.
"""

from collections.abc import AsyncIterator
from typing import Final, TypeAlias, TypeVar

import structlog

from protocol.errors import RemoteProtocolError
from protocol.serve import messages as serve
from protocol.serve.connection import ServerConnection
from protocol.serve.events import Asked, BodyData, BodyEnd, Greeted, ServerEvent
from protocol.serve.values import BuildOptions, BuildPathsResult
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derivation import BasicDerivation
from protocol.store.derived_path import DerivedPath
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.wire.operation import Request
from protocol.worker import messages as worker
from protocol.worker.messages import BuildMode
from protocol.worker.stderr import LogMessage, Verbosity
from shim.config import Config
from shim.daemon.clients.asking import Store, Unanswered
from shim.daemon.clients.client import ClientGone, Pipe, Remote
from shim.daemon.clients.who import Who
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Upstream
from shim.daemon.services import Services
from shim.daemon.translated.exchange import export, import_stream
from shim.daemon.translated.framed import QUIET, Framed, shown
from shim.daemon.translated.inner import with_session
from shim.errors import ShimError

log = structlog.get_logger()

ServeClient: TypeAlias = Remote[ServerConnection, ServerEvent]
"""One that speaks the serve protocol."""

T = TypeVar("T")

NO_REPEATS: Final = "client requested repeating builds, but this is not currently implemented"


class LogTooLong(Exception):
    """A build said more than its client wants to hear (`max-log-size`)."""


async def serve_session(services: Services, stream: Pipe, who: Who) -> None:
    """Speak the serve protocol with a peer until it leaves or a command fails.

    Raises:
        ClientGone: it left, or was silent for too long.
        RemoteProtocolError: it broke the protocol; it has been told.
    """
    config = services.config
    framed = Framed(stream, config.deadlines)
    client = ServeClient(
        framed,
        ServerConnection(config.store_dir),
        config.deadlines,
        tells_endings=who.tells_endings,
    )
    code = 1
    try:
        greeted = await client.event(config.deadlines.handshake)
        assert isinstance(greeted, Greeted), greeted
        log.info("client-opened", protocol="serve", version=str(greeted.dialect.number))
        await with_session(
            services,
            who,
            lambda upstream: _Translator(
                framed, client, upstream, config, writes="--write" in who.arguments
            ).run(),
        )
    except ClientGone as gone:
        code = int(gone.vanished)
        raise
    except (Unanswered, DaemonRefused, DaemonLost, ShimError) as error:
        await framed.say(f"error: {error}\n")
    except RemoteProtocolError as error:
        await framed.say(f"error: {error}\n")
        raise
    finally:
        await framed.exit(code)


class _Translator:
    """Answers commands by asking a worker session."""

    def __init__(
        self,
        framed: Framed,
        client: ServeClient,
        upstream: Upstream,
        config: Config,
        *,
        writes: bool,
    ) -> None:
        self._framed = framed
        self._client = client
        self._connection = client.connection
        self._upstream = upstream
        self._config = config
        self._writes = writes
        self._verbosity = int(Verbosity.INFO)
        self._log_limit = 0
        self._log_left: int | None = None
        """Bytes that the build may still say; once they are passed the session is of no use."""

    async def run(self) -> None:
        """Answer until a command fails, or the client leaves (`ClientGone`)."""
        while self._log_left is None or self._log_left >= 0:
            asked = await self._client.event(self._config.deadlines.idle)
            assert isinstance(asked, Asked), asked
            await self._answer(asked.request)

    async def _answer(self, request: object) -> None:
        if type(request) in serve.WRITING and not self._writes:
            raise Unanswered("this session may only read: it was opened without `--write`")
        match request:
            case serve.DumpStorePath(path):
                await self._stream(self._upstream.stream(worker.NarFromPath(path)))
            case serve.ExportPaths(_, paths):
                await self._stream(export(self._upstream, paths))
            case serve.AddToStoreNar():
                await self._add(request)
                await self._reply(None)
            case serve.ImportPaths():
                body = self._body()
                async for _ in import_stream(self._upstream, body, self._config):
                    pass
                async for _ in body:  # the stream is complete before the connection says so
                    pass
                await self._reply(None)
            case _:
                await self._reply(await self._client.while_listening(lambda: self._value(request)))

    async def _value(self, request: object) -> object:
        """The answer to a command that is no transfer."""
        match request:
            case serve.QueryValidPaths(lock, substitute, paths):
                return await self._valid(paths, lock, substitute)
            case serve.QueryPathInfos(paths):
                return await self._infos(paths)
            case serve.QueryClosure(include_outputs, paths):
                store = Store(self._upstream)
                return await store.closure(paths, include_outputs=include_outputs)
            case serve.BuildPaths(wanted, options):
                return await self._build_paths(wanted, options)
            case serve.BuildDerivation(path, derivation, options):
                return await self._build_derivation(path, derivation, options)
            case _:
                raise AssertionError(request)

    async def _body(self) -> AsyncIterator[bytes]:
        """The body of the command under way."""
        while True:
            match await self._client.event(self._config.deadlines.transfer):
                case BodyData(data):
                    yield data
                case BodyEnd():
                    return
                case event:
                    raise AssertionError(event)

    async def _reply(self, value: object) -> None:
        await self._client.send(self._connection.reply(value))

    async def _stream(self, pieces: AsyncIterator[bytes]) -> None:
        """Answer with a body; nothing of it is sent before there is some, so that we can fail."""
        begun = False
        async for data in pieces:
            if not begun:
                await self._reply(None)
                begun = True
            await self._client.send(self._connection.reply_body(data))
        self._connection.reply_body_end()

    async def _add(self, request: serve.AddToStoreNar) -> None:
        await self._upstream.ask(
            worker.AddToStoreNar(request.path, request.info, dont_check_signatures=True),
            listen=self._listen,
            body=self._body(),
        )

    async def _valid(
        self, paths: frozenset[StorePath], lock: bool, substitute: bool
    ) -> frozenset[StorePath]:
        lock, substitute = lock and self._writes, substitute and self._writes
        if lock:
            for path in sorted(paths):
                await self._upstream.ask(worker.AddTempRoot(path))
        return await self._upstream.ask(
            worker.QueryValidPaths(paths, substitute), listen=self._listen, builds=substitute
        )

    async def _infos(self, paths: frozenset[StorePath]) -> tuple[tuple[StorePath, PathInfo], ...]:
        found = [
            (path, await self._upstream.ask(worker.QueryPathInfo(path))) for path in sorted(paths)
        ]
        return tuple((path, about) for path, about in found if about is not None)

    async def _build_paths(
        self, wanted: tuple[DerivedPath, ...], options: BuildOptions
    ) -> BuildPathsResult:
        if options.nr_repeats:
            return BuildPathsResult.failed(NO_REPEATS)
        request = worker.BuildPathsWithResults(wanted, BuildMode.NORMAL)
        try:
            results = await self._build(request, options)
        except DaemonRefused as refused:
            return BuildPathsResult.failed(str(refused))
        except LogTooLong as error:
            return BuildPathsResult.failed(str(error), BuildStatus.LOG_LIMIT_EXCEEDED)
        failed = [result for _, result in results if not result.is_success]
        if not failed:
            return BuildPathsResult()
        message = "\n".join(each.error_message or each.status.name for each in failed)
        status = failed[0].status
        known = status <= BuildStatus.NOT_DETERMINISTIC  # what clients of all versions know
        return BuildPathsResult.failed(message, status if known else BuildStatus.MISC_FAILURE)

    async def _build_derivation(
        self, path: StorePath, derivation: BasicDerivation, options: BuildOptions
    ) -> BuildResult:
        if options.nr_repeats:
            return BuildResult(status=BuildStatus.MISC_FAILURE, error_message=NO_REPEATS)
        request = worker.BuildDerivation(path, derivation, BuildMode.NORMAL)
        try:
            result = await self._build(request, options)
        except DaemonRefused as refused:
            return BuildResult(status=BuildStatus.MISC_FAILURE, error_message=str(refused))
        except LogTooLong as error:
            return BuildResult(status=BuildStatus.LOG_LIMIT_EXCEEDED, error_message=str(error))
        return result

    async def _build(self, request: Request[T], options: BuildOptions) -> T:
        settings = worker.SetOptions(
            keep_failed=options.keep_failed,
            verbosity=QUIET,
            max_silent_time=options.max_silent_time,
            verbose_build=Verbosity.ERROR,
            overrides={"timeout": str(options.build_timeout)},
        )
        await self._upstream.ask(settings)
        self._verbosity = QUIET
        self._log_limit = options.max_log_size
        self._log_left = options.max_log_size or None
        return await self._upstream.ask(request, listen=self._listen, builds=True)

    async def _listen(self, message: LogMessage) -> None:
        text = shown(message, self._verbosity)
        if not text:
            return
        if self._log_left is not None:
            self._log_left -= len(text)
            if self._log_left < 0:
                raise LogTooLong(f"the build said more than {self._log_limit} bytes (max-log-size)")
        await self._framed.say(text)
