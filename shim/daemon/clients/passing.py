"""Bytes from one socket to another, in threads: what operators and their nix-daemon say.

A thread that waits in the kernel passes a message on in a fraction of the time that a task of an
event loop takes, and large transfers are moved from socket to socket without being looked at
(splice(2)).  Knows nothing of protocols.
"""

import fcntl
import os
import select
import socket
from contextlib import suppress
from typing import Final

import trio

CHUNK: Final = 1 << 17
"""Bytes read at once.  Larger pieces are slower: each is fresh memory from the kernel."""

BULK: Final = 1 << 15
"""Bytes read at once from which on more is expected to follow."""

PIPE: Final = 1 << 20
"""Bytes that are moved at once."""

LULL: Final = 50
"""Milliseconds without a byte after which a large transfer is over."""


class End:
    """One end of a session, for threads; the socket itself belongs to whoever opened it."""

    def __init__(self, stream: trio.socket.SocketType, silence: float) -> None:
        """See the class.

        Args:
            stream: the socket.
            silence: seconds after which waiting for it is given up.
        """
        self._socket = socket.socket(fileno=os.dup(stream.fileno()))
        self._socket.settimeout(silence)
        # Either may be the last of both threads to use it.
        self.receive = self._socket.recv
        self.send = self._socket.sendall

    def fileno(self) -> int:
        """For poll(2) and splice(2)."""
        return self._socket.fileno()

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        self._shut(socket.SHUT_WR)

    def hang_up(self) -> None:
        """End both directions; whoever waits here gets an end or an error."""
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        try:
            self._socket.shutdown(how)
        except OSError:
            return  # the other end was faster

    def await_close(self) -> None:
        """Wait until the other end is closed, and not only half-closed (poll(2): POLLHUP)."""
        poll = select.poll()
        poll.register(self._socket, 0)
        poll.poll()

    def close(self) -> None:
        """No thread uses it any more."""
        self._socket.close()


class Pouring:
    """Moves large transfers between two ends."""

    def __init__(self, source: End, sink: End) -> None:
        self._source = source.fileno()
        self._sink = sink.fileno()
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._source, select.POLLIN)
        self._writable.register(self._sink, select.POLLOUT)
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # the limit for this user is reached: less is moved at once
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE)

    def pour(self) -> bool:
        """Move what is there, or comes before a lull; whether more may be moved.

        Raises:
            OSError: one of both ends is gone.
        """
        try:
            count = os.splice(self._source, self._in, PIPE, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return bool(self._readable.poll(LULL))
        left = count
        while left:
            try:
                left -= os.splice(self._out, self._sink, left, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                self._writable.poll()
        return count > 0

    def close(self) -> None:
        """Nothing is to be moved any more."""
        os.close(self._in)
        os.close(self._out)
