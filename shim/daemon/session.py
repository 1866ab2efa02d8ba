"""One client's session: greet it, answer one operation after the other, end.

Relayed operations go to a connection of this session to the serving store's nix-daemon; judged ones
to `shim.daemon.builds`.  While an answer is under way the client is watched: when it leaves, the
connections that work for it are closed, and nix-daemons end builds whose client is gone.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

import structlog
import trio

from protocol.errors import RemoteProtocolError
from protocol.store.build_result import BuildResult
from protocol.store.derivation import Derivation
from protocol.store.derived_path import ALL_OUTPUTS, Built, DerivedPath
from protocol.store.modulo import HashModulo
from protocol.store.path import StorePath
from protocol.store.realisation import DrvOutput, Realisation
from protocol.worker.events import Asked, Greeted
from protocol.worker.handshake import Trust
from protocol.worker.messages import (
    BuildDerivation,
    BuildMode,
    BuildPaths,
    BuildPathsWithResults,
    SetOptions,
)
from protocol.worker.server import ServerConnection
from shim.config import Config
from shim.daemon.builds import Builds
from shim.daemon.client import Client, ClientGone
from shim.daemon.flight import Asker, Wanted
from shim.daemon.flightlog import Audience
from shim.daemon.narrator import Narrator
from shim.daemon.relay import relay
from shim.daemon.upstream import DaemonLost, DaemonRefused, Upstream, options
from shim.equivalence.source import Derivations, UnreadableDerivation
from shim.errors import ShimError
from shim.session.routes import Route, Standing, refusal, route
from shim.session.settings import honoured

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Who:
    """The other end of a session."""

    name: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions share."""

    config: Config
    serving: Path
    """Socket of the serving store's nix-daemon."""
    builds: Builds


class Session:
    """See the module."""

    def __init__(
        self,
        services: Services,
        stream: trio.SocketStream,
        who: Who,
        head: bytes,
        connection: ServerConnection | None = None,
    ) -> None:
        """See the class.

        Args:
            services: what all sessions share.
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
        self._client = Client(stream, self._connection, self._config.deadlines)
        self._narrator = Narrator(self._client.log)
        self._upstream: Upstream | None = None
        self._closing = AsyncExitStack()
        self._options: SetOptions | None = None

    async def run(self) -> None:
        """Serve the client until it leaves.

        Raises:
            ClientGone: it left, or was silent for too long.
            RemoteProtocolError: it broke the protocol; it has been told.
        """
        try:
            if await self._greet():
                while True:
                    event = await self._client.event(self._config.deadlines.idle)
                    assert isinstance(event, Asked), event
                    await self._answer(event)
        except RemoteProtocolError as error:
            with suppress(ClientGone):
                await self._client.fail(str(error))
            raise
        finally:
            with trio.CancelScope(shield=True):
                await self._closing.aclose()

    def takes(self, asked: Asked) -> bool:
        """Whether a request asks for a build that is ours to judge."""
        match asked.request:
            case BuildDerivation(derivation=derivation, mode=BuildMode.NORMAL):
                return self._services.builds.judges(derivation)
            case (
                BuildPaths(paths=paths, mode=BuildMode.NORMAL)
                | BuildPathsWithResults(paths=paths, mode=BuildMode.NORMAL)
            ):
                graph = self._graph()
                return any(self._wanted(path, graph) is not None for path in paths)
            case _:
                return False

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
        self._options = settings
        self._connection.take_over(asked)
        await self._answer(asked)
        return self._connection.unread()

    async def close(self) -> None:
        """End the connections that work for this session."""
        await self._closing.aclose()

    async def _greet(self) -> bool:
        greeted = await self._client.event(self._config.deadlines.handshake)
        assert isinstance(greeted, Greeted), greeted
        try:
            upstream = await self._serving()
        except (ShimError, DaemonLost, DaemonRefused) as error:
            await self._client.send(self._connection.refuse(str(error)))
            return False
        trusted = self._who.standing is Standing.OPERATOR or self._config.trust_boards
        await self._client.send(
            self._connection.welcome(
                upstream.daemon_version, Trust.TRUSTED if trusted else Trust.NOT_TRUSTED
            )
        )
        log.info(
            "client-opened", standing=self._who.standing.value, version=str(greeted.dialect.number)
        )
        return True

    async def _serving(self) -> Upstream:
        """This session's connection to the serving store's daemon, opened when first needed."""
        if self._upstream is None:
            self._upstream = await self._closing.enter_async_context(
                Upstream.open(
                    "serving nix-daemon",
                    self._services.serving,
                    self._config.store_dir,
                    self._config.deadlines,
                )
            )
            await self._upstream.ask(self._options or options())
        return self._upstream

    async def _answer(self, asked: Asked) -> None:
        name = asked.operation.name
        try:
            match route(name, self._who.standing, judged=self._config.judge_operators):
                case Route.REFUSE:
                    log.info("operation-refused", operation=name)
                    await self._client.fail(refusal(name))
                case Route.OPTIONS:
                    assert isinstance(asked.request, SetOptions)
                    await self._take_options(asked.request)
                case Route.RELAY | Route.UPLOAD | Route.DOWNLOAD | Route.ROOT:
                    await self._relay(asked)
                case Route.JUDGE:
                    await self._judge(asked)
        except (DaemonLost, DaemonRefused) as lost:
            await self._lose_upstream()
            await self._client.fail(str(lost))
        except ShimError as error:
            await self._client.fail(str(error))

    async def _lose_upstream(self) -> None:
        await self._closing.aclose()
        self._closing = AsyncExitStack()
        self._upstream = None

    async def _take_options(self, asked: SetOptions) -> None:
        """Take over what is honoured of a peer's settings; tell it of the rest."""
        self._options, ignored = honoured(asked, options())
        await (await self._serving()).ask(self._options)
        if ignored:
            log.info("settings-ignored", names=ignored)
            names = shorten(", ".join(ignored), 400)
            await self._narrator.say(f"settings that boards may not change are ignored: {names}")
        await self._client.send(self._connection.reply(None))

    async def _relay(self, asked: Asked) -> None:
        if isinstance(asked.request, SetOptions):
            self._options = asked.request
        await relay(
            asked,
            self._client,
            await self._serving(),
            self._narrator.renumber(),
            self._config.deadlines,
        )

    async def _judge(self, asked: Asked) -> None:
        builds = self._services.builds
        match asked.request:
            case BuildDerivation(path=path, derivation=derivation, mode=BuildMode.NORMAL) if (
                builds.judges(derivation)
            ):
                wanted = Wanted(path, derivation, derivation.output_paths())
                result = await self._client.while_listening(lambda: self._make(wanted))
                await self._client.send(self._connection.reply(result))
            case BuildPaths(paths=paths, mode=BuildMode.NORMAL):
                await self._judge_paths(asked, paths)
            case BuildPathsWithResults(paths=paths, mode=BuildMode.NORMAL):
                await self._judge_paths(asked, paths)
            case _:
                await self._relay(asked)

    async def _judge_paths(self, asked: Asked, paths: Sequence[DerivedPath]) -> None:
        """Answer a request for several paths, of which some may be ours to make."""
        graph = self._graph()
        ours = {path: found for path in paths if (found := self._wanted(path, graph)) is not None}
        if not ours:
            await self._relay(asked)
            return
        rest = tuple(path for path in paths if path not in ours)
        try:
            results = await self._client.while_listening(lambda: self._make_all(ours, rest, graph))
        except DaemonRefused as refused:
            await self._client.send(self._connection.fail(refused.error))
            return
        if isinstance(asked.request, BuildPathsWithResults):
            answer = tuple((path, results[path]) for path in paths if path in results)
            await self._client.send(self._connection.reply(answer))
            return
        failed = [each.error_message for each in results.values() if not each.is_success]
        if failed:
            await self._client.fail("\n".join(failed))
        else:
            await self._client.send(self._connection.reply(None))

    async def _make_all(
        self, ours: dict[DerivedPath, Wanted], rest: tuple[DerivedPath, ...], graph: Derivations
    ) -> dict[DerivedPath, BuildResult]:
        asker = self._asker(graph)
        results: dict[DerivedPath, BuildResult] = {}
        for path, wanted in ours.items():
            result = await self._services.builds.make(wanted, asker)
            results[path] = self._with_outputs(result, wanted, graph)
        self._look_anew()
        if rest:
            results |= dict(
                await (await self._serving()).ask(
                    BuildPathsWithResults(rest, BuildMode.NORMAL),
                    listen=self._narrator.renumber(),
                    builds=True,
                )
            )
        return results

    async def _make(self, wanted: Wanted) -> BuildResult:
        result = await self._services.builds.make(wanted, self._asker(self._graph()))
        self._look_anew()
        return result

    def _look_anew(self) -> None:
        """Use another connection from here on: the old one's nix-daemon remembers what it missed.

        The old one stays open: it protects what the client uploaded from the garbage collector.
        """
        self._upstream = None

    def _asker(self, graph: Derivations) -> Asker:
        return Asker(
            self._who.name,
            lambda _: self._config.policy,
            graph,
            Audience(self._client.log).hear,
        )

    def _graph(self) -> Derivations:
        return Derivations.open(self._config.serving.root, self._config.store_dir)

    def _wanted(self, path: DerivedPath, graph: Derivations) -> Wanted | None:
        """The foreign derivation that `path` asks for, if it is one."""
        if not isinstance(path, Built) or not isinstance(path.derivation, StorePath):
            return None
        try:
            derivation = graph[path.derivation]
        except UnreadableDerivation:
            return None  # the nix-daemon says what it thinks of it
        if not self._services.builds.judges(derivation):
            return None
        known = derivation.output_paths()
        names = known if path.outputs == ALL_OUTPUTS else path.outputs
        if not set(names) <= set(known):
            return None
        return Wanted(path.derivation, derivation, {name: known[name] for name in names})

    def _with_outputs(self, result: BuildResult, wanted: Wanted, graph: Derivations) -> BuildResult:
        """Say which outputs a success made, by the names that old and new clients understand."""
        if not result.is_success or result.built_outputs:
            return result
        assert isinstance(wanted.derivation, Derivation)
        hashes = HashModulo(graph.__getitem__, self._config.store_dir)
        modulo = hashes.masked(wanted.derivation).hashes
        return replace(
            result,
            built_outputs={
                name: Realisation(DrvOutput.of(modulo[name], name), path)
                for name, path in wanted.outputs.items()
            },
        )
