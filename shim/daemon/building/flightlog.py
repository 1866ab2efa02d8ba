"""What a build under way has said, from its start, for everyone who waits for it.

The log holds messages and other logs (those of the inputs that are made on the way).  Each listener
reads at its own pace, so a client that takes nothing holds up neither the build nor other clients.
Memory is bounded: of a log that grows too long the middle goes, and a line in its place says so.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

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

PACE: Final = 0.5
"""Seconds between two such results: no user can tell, and each costs every listener a write."""

OVERHEAD: Final = 300
"""Bytes that a message takes besides its text; measured with `sys.getsizeof` of its parts."""

Send = Callable[[LogMessage], Awaitable[None]]


@dataclass(slots=True)
class _Entry:
    """A place in a log; empty once what stood there is out of date."""

    content: "LogMessage | FlightLog | None"
    size: int


_Subject: TypeAlias = tuple[int, int, Field | None]
"""Activity, type of result and, where one activity counts several things, which."""


@dataclass(slots=True)
class _Shown:
    """How far something was said to be."""

    entry: _Entry
    due: float
    """When it may be said again."""
    late: LogMessage | None = None
    """What is to be said then."""


class FlightLog:
    """See the module.  Written by one build, read by any number of `Audience`s."""

    def __init__(self) -> None:
        self._head: list[_Entry] = []
        self._tail: deque[_Entry] = deque()
        self._head_size = 0
        self._tail_size = 0
        self._dropped = 0
        self._latest: dict[_Subject, _Shown] = {}
        self.over = trio.Event()
        self._included: list[FlightLog] = []
        self._readers = trio.lowlevel.ParkingLot()

    async def add(self, message: LogMessage) -> None:
        """Say something.  Never waits for listeners, but lets them run."""
        now = trio.current_time()
        if isinstance(message, Result) and message.type in _SUPERSEDED:
            first = message.fields[0] if message.type == ResultType.SET_EXPECTED else None
            subject = message.id, message.type, first
            before = self._latest.get(subject)
            if before is not None and now < before.due:
                before.late = message
                return
            self._show(subject, message, now)
        else:
            for subject, shown in list(self._latest.items()):
                if isinstance(message, StopActivity) and subject[0] == message.id:
                    del self._latest[subject]
                elif shown.late is not None and now >= shown.due:
                    self._show(subject, shown.late, now)
            self._append(_Entry(message, _size(message)))
        await trio.lowlevel.checkpoint()

    def _show(self, subject: _Subject, message: LogMessage, now: float) -> None:
        """Say how far something is, in place of what was said of it before."""
        entry = _Entry(message, _size(message))
        if (before := self._latest.get(subject)) is not None:
            before.entry.content = None
        self._latest[subject] = _Shown(entry, now + PACE)
        self._append(entry)

    def include(self, other: "FlightLog") -> None:
        """From here on, whoever hears this log hears `other` too, from its start."""
        self._included.append(other)
        self._append(_Entry(other, OVERHEAD))

    def end(self) -> None:
        """Nothing more will be said."""
        self.over.set()
        self._wake()

    def lines(self) -> Iterator[str]:
        """The text that was said, as far as it is still held; not that of included logs."""
        for part in (self._head, self._tail):
            if part is self._tail and self._dropped:
                yield LEFT_OUT.rstrip()
            for entry in part:
                match entry.content:
                    case Result(type=ResultType.BUILD_LOG_LINE, fields=(str(text), *_)):
                        yield text
                    case Next(text=text):
                        yield text.rstrip("\n")
                    case _:
                        pass

    @property
    def ended(self) -> bool:
        """Whether nothing more will be said."""
        return self.over.is_set()

    def _wake(self) -> None:
        """Let readers look again, also those who read what is included for our sake."""
        self._readers.unpark_all()
        for other in self._included:
            other._wake()  # noqa: SLF001 - same class

    def _append(self, entry: _Entry) -> None:
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

    async def entries(self, root: "FlightLog") -> "AsyncGenerator[LogMessage | FlightLog, None]":
        """Everything from the start, as it comes, until this log or `root` has ended.

        `root` is the log for whose sake this one is read.  A line stands for a middle that is gone.
        """
        position = 0
        while True:
            while position >= self._length:
                if self.ended or root.ended:
                    return
                await self._readers.park()
            if len(self._head) <= position < len(self._head) + self._dropped:
                position = len(self._head) + self._dropped
                yield Next(LEFT_OUT)
                continue
            entry = (
                self._head[position]
                if position < len(self._head)
                else self._tail[position - len(self._head) - self._dropped]
            )
            position += 1
            if entry.content is not None:
                yield entry.content

    @property
    def _length(self) -> int:
        return len(self._head) + self._dropped + len(self._tail)


class Audience:
    """One listener: hears each log once, however many builds it belongs to.

    What refers to an activity that it has not been told of is kept from it, and activities that
    were not seen to end are ended: Nix's progress bar asserts on the first and shows the second.
    """

    def __init__(self, send: Send, silence: float = 30) -> None:
        """See the class.

        Args:
            send: tells the client.
            silence: seconds after which it is told that a build lives.
        """
        self._send = send
        self._silence = silence
        self._known: set[FlightLog] = set()
        self._last = trio.current_time()

    async def hear(self, log: FlightLog, alive: Callable[[], LogMessage]) -> None:
        """Pass on `log` and what it includes, until it has ended.

        Args:
            log: of the build that is waited for.
            alive: what to say when nothing was said for long.

        Raises:
            whatever `send` raises.
        """
        failure: list[Exception] = []
        open_now: set[int] = set()

        async def follow(followed: FlightLog) -> None:
            try:
                async with aclosing(followed.entries(log)) as entries:
                    async for entry in entries:
                        if isinstance(entry, FlightLog):
                            start(entry)
                        elif _belongs(entry, open_now):
                            await self._say(entry)
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it
                failure.append(error)
                nursery.cancel_scope.cancel()

        def start(found: FlightLog) -> None:
            if found not in self._known:
                self._known.add(found)
                followers.start_soon(follow, found)

        async def reassure() -> None:
            try:
                while True:
                    due = self._last + self._silence
                    if trio.current_time() < due:
                        await trio.sleep_until(due)
                        continue
                    message = alive()
                    if _belongs(message, open_now):
                        await self._say(message)
            except Exception as error:  # noqa: BLE001 - the same
                failure.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reassure)
            async with trio.open_nursery() as followers:
                start(log)
                await log.over.wait()
            nursery.cancel_scope.cancel()
        if failure:
            raise failure[0]
        for number in open_now:
            await self._say(StopActivity(number))

    async def _say(self, message: LogMessage) -> None:
        self._last = trio.current_time()
        await self._send(message)


def _belongs(message: LogMessage, open_now: set[int]) -> bool:
    """Whether it makes sense to whoever was told of the activities `open_now`; keeps these."""
    match message:
        case StartActivity(id=number):
            open_now.add(number)
            return True
        case StopActivity(id=number):
            there = number in open_now
            open_now.discard(number)
            return there
        case Result(id=number):
            return number in open_now
        case Next():
            return True


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
