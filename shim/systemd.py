"""What a service manager hands to a service, and is told by it (sd_listen_fds(3), sd_notify(3)).

Plain sockets; without a service manager everything here does nothing.
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Final

FIRST: Final = 3
"""The first file descriptor that is passed."""


def listening(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that were passed to this process, in their order; once.

    The variables that announce them go, so that no child takes them for its own.
    """
    process, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for number in range(FIRST, FIRST + int(count)):
        os.set_inheritable(number, False)
        found.append(socket.socket(fileno=number))
    return found


def notify(*states: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Tell the service manager, such as `READY=1`, `STOPPING=1`, `STATUS=...` or `WATCHDOG=1`.

    A manager that does not listen is none: nothing is raised.
    """
    where = environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        try:
            out.sendto("\n".join(states).encode(), address)
        except OSError:
            return


def watchdog(environ: MutableMapping[str, str] = os.environ) -> float | None:
    """Seconds between signs of life, half of what the manager allows; None if it wants none."""
    allowed, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not allowed.isdigit() or process not in {"", str(os.getpid())}:
        return None
    return int(allowed) / 2e6
