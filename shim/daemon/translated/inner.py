"""A worker session of a peer within this process, for what speaks something else on its behalf.

Serve sessions and nix-store commands are translated to worker operations and put to an ordinary
session of the same peer, so that routes, trust and policy are decided in one place.
"""

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog
import trio

from protocol.errors import RemoteProtocolError
from protocol.worker.client import ClientConnection
from shim.daemon.clients.client import ClientGone
from shim.daemon.clients.session import Session
from shim.daemon.clients.who import Who
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Upstream
from shim.daemon.services import Services

log = structlog.get_logger()

NAME: Final = "nix-shim"
"""How the session is called in messages; its client sees no difference to a nix-daemon."""


async def with_session(
    services: Services, who: Who, work: Callable[[Upstream], Awaitable[None]]
) -> None:
    """Do `work` with a connection to a session of `who`; the session ends with it.

    A client that leaves in the midst of `work`, or vanishes, does so towards that session too.  It
    is the one that operators see, and that is ended when nothing is asked of it while the daemon
    stops.

    Raises:
        DaemonRefused: the session turned us away in its handshake.
        DaemonLost: it broke off.
        ClientGone: it was ended while the daemon stopped.
        Exception: whatever `work` raises.
    """
    config = services.config
    near, far = map(_stream, socket.socketpair())
    failure: Exception | None = None
    async with trio.open_nursery() as nursery, near:
        ended = trio.Event()
        with trio.CancelScope() as working:
            inner = replace(who, tells_endings=True)
            nursery.start_soon(_session, services, far, inner, ended, working)
            upstream = Upstream(NAME, near, ClientConnection(config.store_dir), config.deadlines)
            try:
                await upstream.greet()
                await work(upstream)
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
                failure = error
        if working.cancelled_caught:
            failure = ClientGone("it asked nothing while the daemon stopped")
        if not (isinstance(failure, ClientGone) and failure.vanished):
            with (
                suppress(trio.BrokenResourceError),
                trio.move_on_after(config.deadlines.shutdown),
            ):
                await near.send_eof()
                await ended.wait()
    if failure is not None:
        raise failure


def _stream(end: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))


async def _session(
    services: Services,
    stream: trio.SocketStream,
    who: Who,
    ended: trio.Event,
    working: trio.CancelScope,
) -> None:
    async with stream:
        try:
            await Session(services, stream, who, b"").run()
        except ClientGone as gone:
            log.debug("inner-session-ended", why=str(gone))
            working.cancel()
        except (RemoteProtocolError, DaemonLost, DaemonRefused) as error:
            log.warning("inner-session-failed", error=str(error))
        finally:
            ended.set()
