"""Connecting to a nix-daemon's socket."""

import socket
from pathlib import Path
from typing import Final

import trio

RETRY: Final = 0.01
"""Seconds between attempts while the daemon's queue of connections is full.  nix-daemon 2.8 lets
five wait (`listen`); the kernel does not tell when there is room, it has blocking clients wait."""


async def dial(path: Path) -> trio.SocketStream:
    """A connection to the Unix socket at `path`; waits as long as its queue is full.

    Raises:
        OSError: nothing listens there, or it may not be connected to.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
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
