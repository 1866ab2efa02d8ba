"""The socket: accept, admit or turn away, serve; and what signals do.

* SIGTERM, SIGINT: nobody is admitted any more, and told so in the handshake, so that clients fail
  over.  Builds and the sessions that wait for them go on for at most `deadlines.drain`; a second
  signal ends them at once.
* SIGHUP: tables, peers, rules and policy are read anew (`shim.daemon.reloading`).
"""

import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from protocol.errors import RemoteProtocolError
from shim import preamble, systemd
from shim.config import DEFAULT_DOMAIN, Config
from shim.daemon.clients.admission import identify, turn_away
from shim.daemon.clients.client import ClientGone, Pipe
from shim.daemon.clients.session import Session
from shim.daemon.clients.sessions import LOOK, SPARE
from shim.daemon.clients.splice import OperatorSession
from shim.daemon.clients.taping import recorded
from shim.daemon.clients.who import Who
from shim.daemon.control import control_session
from shim.daemon.nix.dialing import widen
from shim.daemon.services import Services
from shim.daemon.translated.commands import command_session
from shim.daemon.translated.serving import serve_session
from shim.preamble import Speaks
from shim.session.routes import Standing

log = structlog.get_logger()

STOP: Final = (signal.SIGTERM, signal.SIGINT)
BACKLOG: Final = 128
"""Connections that the kernel holds until they are accepted."""

_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What accept(2) says when there is room for no more; the client waits in the backlog."""

Reload = Callable[[], Awaitable[None]]


async def listen(domains: Mapping[str, Services], reload: Reload) -> None:
    """Serve clients until a signal ends it.

    Args:
        domains: by name.
        reload: called on SIGHUP.
    """
    config = domains[DEFAULT_DOMAIN].config
    async with (
        trio.open_nursery() as clients,
        _listener(config) as listener,
        trio.open_nursery() as accepting,
    ):
        accepting.start_soon(_accept, listener, domains, clients)
        accepting.start_soon(_live)
        log.info("ready", socket=str(config.socket), pid=os.getpid())
        systemd.notify("READY=1")
        await _until_stopped(domains, reload)
        accepting.cancel_scope.cancel()
        clients.cancel_scope.cancel()


async def _live() -> None:
    """Show the service manager that the loop turns, as often as it wants."""
    while (interval := systemd.watchdog()) is not None:
        systemd.notify("WATCHDOG=1")
        await trio.sleep(interval)


@asynccontextmanager
async def _listener(config: Config) -> AsyncIterator[trio.SocketListener]:
    if passed := systemd.listening():
        async with trio.SocketListener(trio.socket.from_stdlib_socket(passed[0])) as listener:
            yield listener
        return
    config.socket.parent.mkdir(parents=True, exist_ok=True)
    config.socket.unlink(missing_ok=True)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await sock.bind(str(config.socket))
    config.socket.chmod(config.socket_mode)
    sock.listen(BACKLOG)
    try:
        async with trio.SocketListener(sock) as listener:
            yield listener
    finally:
        config.socket.unlink(missing_ok=True)


async def _until_stopped(domains: Mapping[str, Services], reload: Reload) -> None:
    """Heed signals until the daemon is to end, and what goes on has ended."""
    services = domains[DEFAULT_DOMAIN]
    deadlines = services.config.deadlines
    with trio.open_signal_receiver(*STOP, signal.SIGHUP) as signals:
        async for number in signals:
            if number in STOP:
                break
            await reload()
        systemd.notify("STOPPING=1")
        log.info("stopping", signal=signal.Signals(number).name, drain=deadlines.drain)
        with trio.move_on_after(deadlines.drain) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_told_again, signals, patience)
                await services.sessions.drain(deadlines.shutdown)
                while any(each.builds.under_way for each in domains.values()):  # noqa: ASYNC110 - a look now and then is less than an event kept by every build
                    await trio.sleep(LOOK)
                nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            log.warning("stopped-at-once", sessions=len(services.sessions.live))


async def _until_told_again(signals: AsyncIterator[int], patience: trio.CancelScope) -> None:
    async for number in signals:
        if number in STOP:
            patience.cancel()
            return


async def _accept(
    listener: trio.SocketListener, domains: Mapping[str, Services], clients: trio.Nursery
) -> None:
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            log.warning("client-refused", why=str(error))
            await trio.sleep(LOOK)
            continue
        services = domains[DEFAULT_DOMAIN]
        others = len(clients.child_tasks) - services.sessions.operators
        if others >= services.config.limits.sessions + SPARE:
            log.warning("client-refused", why="too many connections to turn more away in words")
            await trio.aclose_forcefully(stream)
            continue
        clients.start_soon(_client, domains, stream)


async def _client(domains: Mapping[str, Services], stream: trio.SocketStream) -> None:
    """One client, from credentials to the end; nothing it does reaches other sessions."""
    config = domains[DEFAULT_DOMAIN].config
    async with stream:
        widen(stream.socket)
        try:
            who, head = await identify(stream, config)
        except (preamble.BadPreamble, trio.TooSlowError, trio.BrokenResourceError) as error:
            log.warning("client-refused", why=str(error) or "silent before the handshake")
            return
        services = domains[who.domain]
        with structlog.contextvars.bound_contextvars(peer=who.name):
            if why := services.sessions.objection(who, config):
                log.warning("client-refused", why=why)
                await turn_away(stream, who, head, why, config)
                return
            with (
                services.sessions.admitted(who),
                recorded(stream, who, head, config) as client,
            ):
                await _serve(domains, client, who, head)


async def _serve(domains: Mapping[str, Services], stream: Pipe, who: Who, head: bytes) -> None:
    services = domains[who.domain]
    try:
        match who.speaks:
            case Speaks.WORKER if who.standing is Standing.OPERATOR:
                with services.sessions.shown(who) as live:
                    await OperatorSession(services, stream, who, head, live).run()
            case Speaks.WORKER:
                await Session(services, stream, who, head).run()
            case Speaks.SERVE:
                await serve_session(services, stream, who)
            case Speaks.COMMAND:
                await command_session(services, stream, who)
            case Speaks.CONTROL:
                await control_session(domains, stream)
    except ClientGone as gone:
        log.info("client-gone", why=str(gone), vanished=gone.vanished)
    except RemoteProtocolError as error:
        log.warning("client-broke-protocol", error=str(error))
    except Exception:
        log.exception("session-failed")
