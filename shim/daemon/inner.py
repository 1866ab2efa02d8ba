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
from shim.daemon.client import ClientGone
from shim.daemon.services import Services
from shim.daemon.session import Session
from shim.daemon.upstream import DaemonLost, DaemonRefused, Upstream
from shim.daemon.who import Who
from shim.preamble import Speaks

log = structlog.get_logger()

NAME: Final = "nix-shim"
"""How the session is called in messages; its client sees no difference to a nix-daemon."""


async def with_session(
    services: Services, who: Who, work: Callable[[Upstream], Awaitable[None]]
) -> None:
    """Do `work` with a connection to a session of `who`; the session ends with it.

    A client that leaves in the midst of `work`, or vanishes, does so towards that session too.

    Raises:
        DaemonRefused: the session turned us away in its handshake.
        DaemonLost: it broke off.
        Exception: whatever `work` raises.
    """
    inner = replace(who, speaks=Speaks.WORKER, arguments=(), tells_endings=True)
    config = services.config
    near, far = (
        trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair()
    )
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        ended = trio.Event()
        nursery.start_soon(_session, services, far, inner, ended)
        async with near:
            upstream = Upstream(NAME, near, ClientConnection(config.store_dir), config.deadlines)
            try:
                await upstream.greet()
                await work(upstream)
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
                failure = error
            if not (isinstance(failure, ClientGone) and failure.vanished):
                with (
                    suppress(trio.BrokenResourceError),
                    trio.move_on_after(config.deadlines.shutdown),
                ):
                    await near.send_eof()
                    await ended.wait()
    if failure is not None:
        raise failure


async def _session(
    services: Services, stream: trio.SocketStream, who: Who, ended: trio.Event
) -> None:
    async with stream:
        try:
            await Session(services, stream, who, b"").run()
        except ClientGone as gone:
            log.debug("inner-session-ended", why=str(gone))
        except (RemoteProtocolError, DaemonLost, DaemonRefused) as error:
            log.warning("inner-session-failed", error=str(error))
        finally:
            ended.set()
