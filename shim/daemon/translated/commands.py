"""Sessions that are one command: what a peer runs by SSH besides Nix's own protocols.

The command comes with the preamble; its standard input is what the peer sends, and its standard
output, standard error and exit code go back in frames.  It is answered with operations of an
ordinary worker session of the same peer.  Messages and exit codes are those of `nix-store`; what
is not offered is refused with one line and exit code 127.
"""

from functools import partial

import structlog
import trio

from protocol.errors import RemoteProtocolError
from protocol.store.derived_path import ALL_OUTPUTS, Built, Opaque
from protocol.store.path import StorePath
from protocol.worker.messages import NarFromPath, QueryValidPaths
from shim.config import Config
from shim.daemon.clients.asking import Store, Unanswered
from shim.daemon.clients.client import Pipe, unless_ended
from shim.daemon.clients.who import Who
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Upstream
from shim.daemon.services import Services
from shim.daemon.translated import querying
from shim.daemon.translated.exchange import export, import_stream
from shim.daemon.translated.framed import Framed
from shim.daemon.translated.inner import with_session
from shim.daemon.translated.realising import Builder, BuildFailed
from shim.daemon.translated.roots import Roots, absolute, fill
from shim.errors import ShimError
from shim.session.commandline import parse
from shim.session.commands import (
    BadCommand,
    CheckValidity,
    Code,
    Command,
    Dump,
    Export,
    Import,
    MakeFolder,
    Query,
    ReadLink,
    Realise,
    RemoveRoots,
    Settings,
    Version,
)

log = structlog.get_logger()


async def command_session(services: Services, stream: Pipe, who: Who) -> None:
    """Run the command of a peer, and say how it ended.

    Raises:
        ClientGone: the client left before it had ended.
    """
    config = services.config
    framed = Framed(stream, config.deadlines)
    try:
        command = parse(who.arguments)
    except BadCommand as bad:
        log.info("command-refused", words=who.arguments[:3], why=str(bad))
        await framed.say(f"{bad}\n")
        await framed.exit(bad.code)
        return
    log.info("command-started", command=type(command).__name__)
    code = int(Code.FAILED)

    async def work(upstream: Upstream) -> None:
        nonlocal code
        store = services.domain.serving
        roots = Roots(store.root, who.name, config.store_dir)
        await trio.to_thread.run_sync(roots.expire, config.deadlines.protect)
        run = _Run(framed, upstream, roots, config)
        if isinstance(command, Import):
            code = await run.take_in()
        else:
            leaves = partial(framed.left, tells_endings=who.tells_endings)
            code = await unless_ended(leaves, lambda: run.answer(command))

    try:
        await with_session(services, who, work)
    except BuildFailed as failed:
        code = failed.code
        await framed.say(f"{failed}\n")
    except (Unanswered, DaemonRefused, DaemonLost, ShimError, RemoteProtocolError) as error:
        await framed.say(f"error: {error}\n")
    await framed.exit(code)


class _Run:
    """One command under way."""

    def __init__(self, framed: Framed, upstream: Upstream, roots: Roots, config: Config) -> None:
        self._framed = framed
        self._upstream = upstream
        self._roots = roots
        self._config = config

    async def take_in(self) -> Code:
        """`nix-store --import`; the exit code, as of every command."""
        pieces = self._framed.pieces()
        async for path in import_stream(self._upstream, pieces, self._config):
            await self._print(path)
        return Code.OK

    async def answer(self, command: Command) -> Code:
        """Carry out a command that reads nothing."""
        match command:
            case Realise(targets=targets, settings=settings):
                found = [(self._path(target.path), target) for target in targets]
                await self._builder(settings).realise(command, found)
            case Query(settings=settings):
                await self._query(command, self._builder(settings))
            case CheckValidity(paths, print_invalid):
                await self._check(paths, print_invalid=print_invalid)
            case Export(paths):
                async for data in export(self._upstream, {self._path(path) for path in paths}):
                    await self._framed.write(data)
            case Dump(path):
                async for data in self._upstream.stream(NarFromPath(self._path(path))):
                    await self._framed.write(data)
            case Version(program):
                await self._print(f"{program} (Nix) {self._upstream.daemon_version}")
            case MakeFolder(template):
                await self._print(fill(template))
            case ReadLink(path):
                return await self._read_link(path)
            case RemoveRoots(paths):
                await self._remove(paths)
            case Import():
                raise AssertionError(command)
        return Code.OK

    async def _query(self, query: Query, builder: Builder) -> None:
        async def realise(path: StorePath) -> None:
            await builder.bring([Built(path, ALL_OUTPUTS) if path.is_derivation else Opaque(path)])

        paths = [self._path(path) for path in query.paths]
        store = Store(self._upstream)
        async for line in querying.answer(query, paths, store, self._roots, realise):
            await self._print(line)

    async def _check(self, names: tuple[str, ...], *, print_invalid: bool) -> None:
        for path in map(self._path, names):
            if await self._upstream.ask(QueryValidPaths(frozenset({path}))):
                continue
            if not print_invalid:
                raise Unanswered(f"path '{path}' is not valid")
            await self._print(path)

    async def _read_link(self, name: str) -> Code:
        found = self._roots.find(name)
        if found is None:
            if not absolute(name).startswith(f"{self._config.store_dir}/"):
                return Code.FAILED
            found = self._path(name)
        await self._print(found)
        return Code.OK

    async def _remove(self, names: tuple[str, ...]) -> None:
        for name in names:
            if f"{absolute(name)}/".startswith(f"{self._config.store_dir}/"):
                raise Unanswered(f"nothing of the store can be removed: '{name}'")
            await trio.to_thread.run_sync(self._roots.remove, name)

    def _builder(self, settings: Settings) -> Builder:
        return Builder(self._framed, self._upstream, self._roots, settings)

    def _path(self, name: str) -> StorePath:
        """The store path that a name is in: of a file below it, or of a root.

        Checked against Nix's `Store::followLinksToStorePath`.
        """
        if (found := self._roots.find(name)) is not None:
            return found
        before = f"{self._config.store_dir}/"
        whole = absolute(name)
        if not whole.startswith(before):
            raise Unanswered(f"path '{whole}' is not in the Nix store")
        base = whole.removeprefix(before).partition("/")[0]
        return StorePath.of(base, self._config.store_dir)

    async def _print(self, line: str) -> None:
        await self._framed.write(f"{line}\n".encode("utf-8", "surrogateescape"))
