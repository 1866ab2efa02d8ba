"""Bytes from one socket to another, both ways, in one thread: what operators and nix-daemons say.

A thread that waits in the kernel passes a message on in a fraction of the time that a task of an
event loop takes.  Knows nothing of protocols.
"""

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, TypeVar

import trio

from shim.daemon.clients.waiting import wait_for, waiter
from shim.daemon.nix.upstream import CHUNK

T = TypeVar("T")

THREADS: Final = trio.CapacityLimiter(1 << 16)
"""No limit of its own: sessions are limited where they are admitted."""

_GONE: Final = select.POLLHUP | select.POLLERR


async def in_thread(work: Callable[[], T], *sockets: trio.socket.SocketType) -> T:
    """Do `work` in a thread; what it waits for is ended if we are cancelled.

    Args:
        work: what to do.
        sockets: all that it waits for; they are shut down to end it.

    Raises:
        Exception: whatever `work` raises, unless we were cancelled.
    """
    failure: Exception | None = None
    result: list[T] = []
    done = False

    async def end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if not done:
                for each in sockets:
                    hang_up(each)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        try:
            result.append(await trio.to_thread.run_sync(work, limiter=THREADS))
        except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
            failure = error
        done = True
        await trio.lowlevel.checkpoint_if_cancelled()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result[0]


def hang_up(sock: trio.socket.SocketType) -> None:
    """End both directions; whoever waits there gets an end or an error."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other end was faster


class Then(Enum):
    """What is to become of what one end has said."""

    PASS_ON = auto()
    """The other end is told."""
    GO_ON = auto()
    """Nothing: it has been seen to."""
    STOP = auto()
    """The same, and nobody is heard any more."""


Says = Callable[[bytes], Then]


class Silent(OSError):
    """Nothing was said, or taken, for as long as we wait."""


class Joint:
    """Two sockets.  What one says is read only once the other has taken what it said before."""

    def __init__(
        self,
        near: trio.socket.SocketType,
        far: trio.socket.SocketType,
        idle: float,
        transfer: float,
    ) -> None:
        """See the class.

        Args:
            near: one of them; both belong to whoever opened them.
            far: the other.
            idle: seconds to wait for either to say something.
            transfer: seconds to wait for one to take something.
        """
        self._far = far
        self._near_fd, self._far_fd = near.fileno(), far.fileno()
        self._other = {self._near_fd: self._far_fd, self._far_fd: self._near_fd}
        self._queues: dict[int, deque[memoryview | bytes]] = {fd: deque() for fd in self._other}
        self._ended: set[int] = set()
        self._idle, self._transfer = idle, transfer
        self._poll = select.poll()
        self._watched: dict[int, int] = {}
        self._patience = 0.0
        """Seconds for which we wait now."""
        self._watch()

    def run(self, near_says: Says, far_says: Says) -> None:
        """Hear both until one of the callbacks says that it is enough.

        Args:
            near_says: is given what the near end has said, nothing at its end, and says what is to
                become of it.
            far_says: the same of the far end.

        Raises:
            Silent: nobody said anything, or took what the other said.
            OSError: the near end is gone.  A far end that is gone says nothing more, no worse.
        """
        says = {self._near_fd: near_says, self._far_fd: far_says}
        read, wait, other = os.read, waiter(self._poll), self._other
        while True:
            found = wait(self._patience)
            if not found:
                done = "took what was sent" if any(self._queues.values()) else "said anything"
                raise Silent(f"nobody {done} for {self._patience:g} s")
            for fd, events in found:
                if events != select.POLLIN and not self._may_read(fd, events):
                    continue
                try:
                    data = read(fd, CHUNK)
                except ConnectionResetError:
                    if fd == self._near_fd:
                        raise
                    data = b""
                if not data:
                    self._ended.add(fd)
                    self._watch()
                then = says[fd](data)
                if then is Then.PASS_ON:
                    self._send(other[fd], data)
                elif then is Then.STOP:
                    return

    def _may_read(self, fd: int, events: int) -> bool:
        """Whether an end for which more is told than that it says something may be read."""
        if events & select.POLLOUT:
            self._push(fd)
            self._watch()
        if fd in self._ended:
            if events & _GONE:
                raise BrokenPipeError("closed")
            return False
        return bool(events & ~select.POLLOUT) and not self._queues[self._other[fd]]

    def _watch(self) -> None:
        """Ask the kernel for what we can use now.

        An end that is not to be read is not watched at all, since its going would be told again
        and again; but of one that says no more it is all we wait for.
        """
        blocked = any(self._queues.values())
        self._patience = self._transfer if blocked else self._idle
        for fd, other in self._other.items():
            wanted = select.POLLOUT if self._queues[fd] else 0
            if not self._queues[other] and fd not in self._ended:
                wanted |= select.POLLIN
            if wanted or (fd in self._ended and not self._queues[other]):
                if self._watched.get(fd) != wanted:
                    self._poll.register(fd, wanted)
                    self._watched[fd] = wanted
            elif fd in self._watched:
                self._poll.unregister(fd)
                del self._watched[fd]

    def to_near(self, data: bytes) -> None:
        """Send to the near end, later if it does not take it now."""
        self._send(self._near_fd, data)

    def to_far(self, data: bytes) -> None:
        """Send to the far end, later if it does not take it now."""
        self._send(self._far_fd, data)

    def _send(self, fd: int, data: bytes) -> None:
        queue = self._queues[fd]
        if queue:
            queue.append(data)
            return
        sent = self._write(fd, data)
        if sent < len(data):
            queue.append(memoryview(data)[sent:])
            self._watch()

    def _write(self, fd: int, data: bytes | memoryview) -> int:
        """How much of it is taken now.

        A far end that takes no more may have said why, and that has not been read yet: nothing is
        said to it any more, and the end of what it says ends the session.
        """
        try:
            return os.write(fd, data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            if fd == self._near_fd:
                raise
            return len(data)

    def _push(self, fd: int) -> None:
        """Send what has been waiting, as far as it is taken."""
        queue = self._queues[fd]
        while queue:
            data = queue.popleft()
            sent = self._write(fd, data)
            if sent < len(data):
                queue.appendleft(memoryview(data)[sent:])
                return

    def flush(self) -> None:
        """Wait until both have taken all that was sent to them.

        Raises:
            Silent, OSError: one does not.
        """
        for fd, queue in self._queues.items():
            takes = wait_for((fd, select.POLLOUT))
            while queue:
                if not takes(self._transfer):
                    raise Silent(f"nobody took what was sent for {self._transfer:g} s")
                self._push(fd)
        self._watch()

    def finish_far(self) -> None:
        """Say to the far end that nothing more will be sent, once it has taken what was."""
        self.flush()
        try:
            self._far.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it was faster
