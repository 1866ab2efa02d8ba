"""Who may log in now: a few at a time, fairly between addresses; the rest waits or is turned away.

A login is the only work that strangers can make for us.  No address may hold more than half of
the places, so that a flood from one of them leaves the other half to all others.  Pure bookkeeping:
no sockets, no clock.
"""

from collections import Counter, deque
from enum import Enum, auto
from ipaddress import IPv6Address, ip_address
from typing import Final, Generic, TypeVar

T = TypeVar("T")

WAITING: Final = 8
"""Connections that may wait, for each place."""


class Verdict(Enum):
    """What becomes of a connection that has just been accepted."""

    START = auto()
    WAIT = auto()
    REFUSE = auto()


class Admission(Generic[T]):
    """Places for logins, and who waits for one."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._busy: Counter[str] = Counter()
        self._waiting: dict[str, deque[T]] = {}

    @property
    def share(self) -> int:
        """Places that one address may hold."""
        return max(1, self.places // 2)

    def arrive(self, source: str, who: T) -> Verdict:
        """Somebody connected from `source`."""
        if self._free(source):
            self._busy[source] += 1
            return Verdict.START
        queue = self._waiting.setdefault(source, deque())
        waiting = sum(map(len, self._waiting.values()))
        limit = self.places * WAITING
        if waiting >= limit or len(queue) >= limit // 2:
            if not queue:
                del self._waiting[source]
            return Verdict.REFUSE
        queue.append(who)
        return Verdict.WAIT

    def leave(self, source: str) -> tuple[str, T] | None:
        """A login from `source` ended, well or not; who may start now, and from where."""
        self._busy[source] -= 1
        if not self._busy[source]:
            del self._busy[source]
        for other in self._waiting:
            if self._free(other):
                queue = self._waiting.pop(other)
                who = queue.popleft()
                if queue:
                    self._waiting[other] = queue  # to the end: the other addresses come first
                self._busy[other] += 1
                return other, who
        return None

    def give_up(self, source: str, who: T) -> bool:
        """Somebody waits no longer; whether they still did."""
        queue = self._waiting.get(source, deque())
        if who not in queue:
            return False
        queue.remove(who)
        if not queue:
            del self._waiting[source]
        return True

    def _free(self, source: str) -> bool:
        return self._busy.total() < self.places and self._busy[source] < self.share


def source_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that is one host's to choose from."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)
