"""What a build under way has said, from its start, for everyone who waits for it.

The log holds messages and other logs (those of the inputs that are made on the way).  Each listener
reads at its own pace, so a client that takes nothing holds up neither the build nor other clients.
Memory is bounded: of a log that grows too long the middle goes, and a line in its place says so.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from protocol.worker.stderr import (
    Field,
    LogMessage,
    Next,
    Result,
    ResultType,
    StartActivity,
    StopActivity,
)

HEAD: Final = 1 << 19
"""Bytes of a log's beginning that are always kept."""

TAIL: Final = 3 << 20
"""Bytes of its end that are kept once it is longer than that."""

LEFT_OUT: Final = "nix-shim: the middle of this log is left out: it grew faster than you took it\n"

_SUPERSEDED: Final = frozenset({ResultType.PROGRESS, ResultType.SET_EXPECTED})
"""Results of which only the last of its activity matters; nix-daemons send thousands."""

OVERHEAD: Final = 300
"""Bytes that a message takes besides its text; measured with `sys.getsizeof` of its parts."""

Send = Callable[[LogMessage], Awaitable[None]]


@dataclass(slots=True)
class _Entry:
    """A place in a log; empty once what stood there is out of date."""

    content: "LogMessage | FlightLog | None"
    size: int


class FlightLog:
    """See the module.  Written by one build, read by any number of `Audience`s."""

    def __init__(self) -> None:
        self._head: list[_Entry] = []
        self._tail: deque[_Entry] = deque()
        self._head_size = 0
        self._tail_size = 0
        self._dropped = 0
        self._latest: dict[tuple[int, int, Field | None], _Entry] = {}
        self.ended = False
        self.last = trio.current_time()
        """When something was said last, on trio's clock."""
        self._included: list[FlightLog] = []
        self._readers = trio.lowlevel.ParkingLot()

    async def add(self, message: LogMessage) -> None:
        """Say something.  Never waits for listeners, but lets them run."""
        entry = _Entry(message, _size(message))
        if isinstance(message, Result) and message.type in _SUPERSEDED:
            first = message.fields[0] if message.type == ResultType.SET_EXPECTED else None
            subject = message.id, message.type, first
            if (old := self._latest.get(subject)) is not None:
                old.content = None
            self._latest[subject] = entry
        elif isinstance(message, StopActivity):
            for subject in [each for each in self._latest if each[0] == message.id]:
                del self._latest[subject]
        self._append(entry)
        await trio.lowlevel.checkpoint()

    def include(self, other: "FlightLog") -> None:
        """From here on, whoever hears this log hears `other` too, from its start."""
        self._included.append(other)
        self._append(_Entry(other, OVERHEAD))

    def end(self) -> None:
        """Nothing more will be said."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        """Let readers look again, also those who read what is included for our sake."""
        self._readers.unpark_all()
        for other in self._included:
            other._wake()  # noqa: SLF001 - same class

    def _append(self, entry: _Entry) -> None:
        self.last = trio.current_time()
        if self._head_size < HEAD:
            self._head.append(entry)
            self._head_size += entry.size
        else:
            self._tail.append(entry)
            self._tail_size += entry.size
            while self._tail_size > TAIL and len(self._tail) > 1:
                self._tail_size -= self._tail.popleft().size
                self._dropped += 1
        self._readers.unpark_all()

    async def read(
        self, position: int, root: "FlightLog"
    ) -> "tuple[int, LogMessage | FlightLog | None] | None":
        """What stands at `position` or, if that is gone, behind it.

        Args:
            position: counted from the log's start.
            root: the log for whose sake this one is read; its end ends the waiting.

        Returns:
            Where it stands, and what it is if it still matters; None if there is nothing any more.
        """
        while position >= self._length:
            if self.ended or root.ended:
                return None
            await self._readers.park()
        if position < len(self._head):
            return position, self._head[position].content
        position = max(position, len(self._head) + self._dropped)
        return position, self._tail[position - len(self._head) - self._dropped].content

    @property
    def _length(self) -> int:
        return len(self._head) + self._dropped + len(self._tail)


class Audience:
    """One listener: hears each log once, however many builds it belongs to."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._known: set[FlightLog] = set()

    async def hear(self, log: FlightLog) -> None:
        """Pass on `log` and what it includes, until it has ended.

        Raises:
            whatever `send` raises.
        """
        failure: list[Exception] = []

        async def follow(followed: FlightLog) -> None:
            position = 0
            try:
                while (found := await followed.read(position, log)) is not None:
                    where, entry = found
                    if where > position:
                        await self._send(Next(LEFT_OUT))
                    position = where + 1
                    if isinstance(entry, FlightLog):
                        if entry not in self._known:
                            self._known.add(entry)
                            nursery.start_soon(follow, entry)
                    elif entry is not None:
                        await self._send(entry)
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
                failure.append(error)
                nursery.cancel_scope.cancel()

        if log in self._known:
            return
        self._known.add(log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, log)
        if failure:
            raise failure[0]


def _size(message: LogMessage) -> int:
    match message:
        case Next(text=text):
            return OVERHEAD + len(text)
        case StartActivity(text=text, fields=fields):
            return OVERHEAD + len(text) + sum(len(str(each)) for each in fields)
        case Result(fields=fields):
            return OVERHEAD + sum(len(each) for each in fields if isinstance(each, str))
        case StopActivity():
            return OVERHEAD
