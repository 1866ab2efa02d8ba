"""Waiting for sockets in a thread: awake for a moment, then asleep in the kernel.

Whoever asks one small question after the other is answered within some hundred microseconds, and to
be woken takes a good part of that.  So a thread that waits looks again and again for a moment
first.  One at a time does: many at once would only be in each other's way, and in that of builds.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

AWAKE: Final = 0.0002 if len(os.sched_getaffinity(0)) > 1 else 0.0
"""Seconds for which a thread looks by itself: what a nix-daemon takes to add a small path.  With
one core only it would keep from running what it waits for."""

LONGEST: Final = 2_000_000.0
"""Seconds, 23 days, beyond which nothing is waited for: poll(2) counts milliseconds in an `int`."""

_awake: Final = threading.Lock()

Found = list[tuple[int, int]]
"""File descriptors and what they are ready for, as poll(2) tells them."""


def wait_for(*wanted: tuple[int, int]) -> Callable[[float], Found]:
    """What waits for some file descriptors, each with the events that are wanted of it."""
    poll = select.poll()
    for fd, events in wanted:
        poll.register(fd, events)
    return waiter(poll)


def waiter(poll: "select.poll") -> Callable[[float], Found]:
    """What waits by `poll` for so many seconds: what it finds; nothing when they are over."""
    look = poll.poll

    def wait(seconds: float) -> Found:
        if seconds > AWAKE and _awake.acquire(blocking=False):
            try:
                end = time.perf_counter() + AWAKE
                while time.perf_counter() < end:
                    if found := look(0):
                        return found
            finally:
                _awake.release()
        return look(1000 * min(max(0, seconds), LONGEST))

    return wait
