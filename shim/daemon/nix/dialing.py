"""Connecting to a nix-daemon's socket."""

import socket
from pathlib import Path
from typing import Final

import trio

RETRY: Final = 0.01
"""Seconds between attempts while the daemon's queue of connections is full.  nix-daemon 2.8 lets
five wait (`listen`); the kernel does not tell when there is room, it has blocking clients wait."""


SEND_BUFFER: Final = 1 << 19
"""Bytes, which the kernel doubles, that may be under way to whoever is slow to take them.  With
Linux's default of 208 KiB both ends of a bulk copy wait for each other half of the time."""

_FORCED: Final = 32
"""SO_SNDBUFFORCE of Linux: beyond `net.core.wmem_max`, for whoever may (CAP_NET_ADMIN)."""


def widen(sock: trio.socket.SocketType | socket.socket) -> None:
    """Let more be under way on a socket than by default, as far as we may."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _FORCED, SEND_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


async def dial(path: Path) -> trio.SocketStream:
    """A connection to the Unix socket at `path`; waits as long as its queue is full.

    Raises:
        OSError: nothing listens there, or it may not be connected to.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        widen(sock)
        while True:
            try:
                sock.connect(str(path))
            except BlockingIOError:
                await trio.sleep(RETRY)
            else:
                return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except BaseException:
        sock.close()
        raise
