"""Listening, admission, and the order in which everything starts and ends.

Start: checks, tables, state, nix-daemons, then the socket.  End (SIGTERM, SIGINT): the socket
closes, running sessions get `deadlines.shutdown` seconds, then the nix-daemons are stopped.
"""

import fcntl
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog
import trio

from protocol.errors import RemoteProtocolError
from shim import keys, preamble
from shim.config import DEFAULT_DOMAIN, Config, NixStore
from shim.daemon.builds import Builds, Shared
from shim.daemon.checks import check
from shim.daemon.client import ClientGone
from shim.daemon.mending import sweep
from shim.daemon.nixdaemon import Launch, accepts, plant_launch, serving_launch, supervise
from shim.daemon.nixstore import Nix
from shim.daemon.scans import Scans
from shim.daemon.scheduling import Scheduler
from shim.daemon.session import Services, Session, Who
from shim.daemon.splice import OperatorSession
from shim.daemon.state import State
from shim.daemon.tables import Tables
from shim.errors import ExitCode, ShimError
from shim.session.routes import Standing
from shim.systems import Systems

log = structlog.get_logger()

_CREDENTIALS: Final = struct.Struct("3i")
"""pid, uid, gid: Linux `struct ucred`, the answer to SO_PEERCRED."""

GREETING: Final = 8
"""Bytes that tell a preamble from Nix's own greeting."""


def serve(config: Config) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        ShimError: something that it needs is missing; the message says what mends it.
    """
    try:
        trio.run(_serve, config)
    except BaseExceptionGroup as group:
        raise _first_shim_error(group) from None


def _first_shim_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    wanted, rest = group.split(ShimError)
    if wanted is None or rest is not None:
        return group
    inner: BaseException = wanted
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


async def _serve(config: Config) -> None:
    systems = config.platforms
    lacks = check(config, systems)
    with _only_one(config.state_directory):
        tables = Tables.load(config)
        state = State(config.state_directory / "state.sqlite")
        try:
            await _run(config, systems, tables, state, lacks)
        finally:
            state.close()


async def _run(
    config: Config,
    systems: Systems,
    tables: Tables,
    state: State,
    lacks: dict[str, str | None],
) -> None:
    ring = _keys(config)
    scans = Scans(config, tables, state)
    async with trio.open_nursery() as daemons:
        daemons.start_soon(scans.run)
        scheduler = Scheduler(config)
        daemons.start_soon(scheduler.look_around)
        shared = Shared(config, systems, tables, state, scans, ring, lacks, scheduler, daemons)
        name, domain = DEFAULT_DOMAIN, config.all_domains()[DEFAULT_DOMAIN]
        serving = await _nix(config, domain.serving, serving_launch(config, name, domain), daemons)
        plant = None
        if domain.plant is not None and (launch := plant_launch(config, name, domain)) is not None:
            sweep(domain.plant.root)
            plant = await _nix(config, domain.plant, launch, daemons)
        builds = Builds(shared, name, domain, serving, plant)
        await builds.settle()
        await _listen(Services(config, serving.socket, builds))
        daemons.cancel_scope.cancel()


async def _nix(config: Config, store: NixStore, launch: Launch, daemons: trio.Nursery) -> Nix:
    """The nix-daemon of a store, once it accepts connections.

    Raises:
        ShimError: it does not come up, or nothing listens where one should run already.
    """
    if store.start:

        async def start(task_status: trio.TaskStatus[None]) -> None:
            await supervise(
                launch,
                deadline=config.deadlines.connect,
                shutdown=config.deadlines.shutdown,
                task_status=task_status,
            )

        await daemons.start(start)
    elif not await accepts(launch.socket):
        raise ShimError(
            f"nothing listens at `{launch.socket}`, the socket of the {launch.name}",
            hint="start that nix-daemon, or let us: start = true",
            code=ExitCode.UNAVAILABLE,
        )
    return Nix(launch.name, launch.socket, config)


def _keys(config: Config) -> keys.KeyRing:
    if config.key_directory is not None:
        return keys.KeyRing.load(config.key_directory)
    directory = config.state_directory / "keys"
    for made in keys.generate(directory, config.key_name):
        log.info("key-made", public=made.render())
    return keys.KeyRing.load(directory)


class _only_one:  # noqa: N801 - used like the context managers of contextlib
    """Hold the state directory's lock: two daemons on one plant store would undo each other."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "lock"
        self._file = self._path.open("w")

    def __enter__(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ShimError(
                f"another nix-shim uses the state directory `{self._path.parent}`",
                hint="stop it, or configure another state-directory",
                code=ExitCode.UNAVAILABLE,
            ) from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


@asynccontextmanager
async def _listener(config: Config) -> AsyncIterator[trio.SocketListener]:
    config.socket.parent.mkdir(parents=True, exist_ok=True)
    config.socket.unlink(missing_ok=True)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await sock.bind(str(config.socket))
    config.socket.chmod(config.socket_mode)
    sock.listen(128)
    try:
        async with trio.SocketListener(sock) as listener:
            yield listener
    finally:
        config.socket.unlink(missing_ok=True)


async def _listen(services: Services) -> None:
    """Accept clients until a signal; then let their sessions end."""
    config = services.config
    async with trio.open_nursery() as sessions:
        with trio.CancelScope() as accepting:
            async with _listener(config) as listener, trio.open_nursery() as nursery:
                nursery.start_soon(_until_signal, accepting)
                log.info("ready", socket=str(config.socket), pid=os.getpid())
                while True:
                    stream = await listener.accept()
                    if len(sessions.child_tasks) >= config.limits.sessions:
                        log.warning("client-refused", why="limits.sessions reached")
                        await trio.aclose_forcefully(stream)
                        continue
                    sessions.start_soon(_session, services, stream)
        sessions.cancel_scope.deadline = trio.current_time() + config.deadlines.shutdown


async def _until_signal(accepting: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping", signal=signal.Signals(number).name)
            accepting.cancel()
            return


async def _session(services: Services, stream: trio.SocketStream) -> None:
    """One client, from credentials to the end; nothing it does reaches other sessions."""
    config = services.config
    async with stream:
        try:
            with trio.fail_after(config.deadlines.handshake):
                who, head = await _who(stream, config)
        except (preamble.BadPreamble, trio.TooSlowError, trio.BrokenResourceError) as error:
            log.warning("client-refused", why=str(error) or "silent before the handshake")
            return
        with structlog.contextvars.bound_contextvars(peer=who.name):
            try:
                kind = OperatorSession if who.standing is Standing.OPERATOR else Session
                await kind(services, stream, who, head).run()
            except ClientGone as gone:
                log.info("client-gone", why=str(gone))
            except RemoteProtocolError as error:
                log.warning("client-broke-protocol", error=str(error))
            except Exception:
                log.exception("session-failed")


async def _who(stream: trio.SocketStream, config: Config) -> tuple[Who, bytes]:
    """Who is there, and the first bytes of Nix's own protocol."""
    ucred = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(ucred)
    head = await _exactly(stream, GREETING)
    if head != preamble.MAGIC:
        if uid in config.operators:
            return Who(f"uid {uid}", Standing.OPERATOR), head
        return Who(f"uid {uid}", Standing.PEER), head
    if uid not in config.preamble_users:
        raise preamble.BadPreamble(f"uid {uid} may not speak for others (preamble-users)")
    head += await _exactly(stream, preamble.HEADER.size - GREETING)
    body = await _exactly(stream, preamble.body_length(head))
    return Who(preamble.Preamble.parse(body).peer, Standing.PEER), b""


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise trio.BrokenResourceError("closed before the handshake")
        data += more
    return data
