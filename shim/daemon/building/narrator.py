"""What one client hears about its builds: activities, build logs, and the shim's own sentences.

Activity ids are given by each daemon for itself, so those of several daemons that end up on one
client's connection are numbered anew here.  Two ways of saying something exist: a line of the
build's log (shown with `-L`, kept for `nix log`), and a sentence that every client shows at once
(`STDERR_NEXT`).
"""

import itertools
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from protocol.store.path import StorePath
from protocol.worker.stderr import (
    ActivityType,
    Field,
    LogMessage,
    Next,
    Result,
    ResultType,
    StartActivity,
    StopActivity,
    Verbosity,
)

SIGN: Final = "nix-shim: "
"""Begins every line that is ours, so that nobody takes it for the package's own output."""

_FROM_BUILD: Final = frozenset({ResultType.BUILD_LOG_LINE, ResultType.SET_PHASE})

SAID: Final = 60
"""Last lines of an attempt that its failure is classed by."""

_numbers = itertools.count(os.getpid() << 32)

Send = Callable[[LogMessage], Awaitable[None]]


class BuildLog:
    """The log of one derivation as its client sees it."""

    def __init__(self, send: Send, activity: int) -> None:
        self._send = send
        self._activity = activity
        self.said: deque[str] = deque(maxlen=SAID)
        """The last lines of the attempt's build."""
        self.phase = ""
        """The phase that it told of last."""

    def begin(self) -> None:
        """Another attempt: what the one before said is nothing to it."""
        self.said.clear()
        self.phase = ""

    def _note(self, message: LogMessage) -> None:
        match message:
            case Result(type=ResultType.BUILD_LOG_LINE, fields=(str(line),)):
                self.said.append(line)
            case Result(type=ResultType.SET_PHASE, fields=(str(phase),)):
                self.phase = phase
            case _:
                pass

    def overhear(self, listen: Send) -> Send:
        """A listener that passes on to `listen` and notes what a failure would be classed by."""

        async def both(message: LogMessage) -> None:
            self._note(message)
            await listen(message)

        return both

    async def line(self, text: str) -> None:
        """Add a line of our own."""
        await self._send(self.own(text))

    def own(self, text: str) -> LogMessage:
        """A line of our own, as a message."""
        return Result(self._activity, ResultType.BUILD_LOG_LINE, (f"{SIGN}{text}",))

    async def listen(self, message: LogMessage) -> None:
        """Pass on what belongs to the build: its lines, its phases, and messages to everyone.

        The activities of the planted build itself are not passed on: they name its synthetic path.
        """
        self._note(message)
        match message:
            case Result(type=kind, fields=fields) if kind in _FROM_BUILD:
                await self._send(Result(self._activity, kind, fields))
            case Next():
                await self._send(message)
            case _:
                pass


class Narrator:
    """Speaks to one client."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def say(self, text: str) -> None:
        """A sentence that the client shows whatever its verbosity."""
        await self._send(sentence(text))

    @asynccontextmanager
    async def building(self, derivation: StorePath, text: str) -> AsyncIterator[BuildLog]:
        """Open the activity under which clients show and keep a build's log."""
        number = next(_numbers)
        fields: tuple[Field, ...] = (derivation, "", 1, 1)
        await self._send(StartActivity(number, Verbosity.INFO, ActivityType.BUILD, text, fields, 0))
        try:
            yield BuildLog(self._send, number)
        finally:
            # A client that is gone hears nothing; sending must then not hide why we leave.
            await self._send(StopActivity(number))

    def renumber(self) -> Send:
        """A listener for one connection to a daemon that passes everything on under new ids."""
        renumbered = renumbering()

        async def listen(message: LogMessage) -> None:
            await self._send(renumbered(message))

        return listen


def sentence(text: str) -> LogMessage:
    """What every client shows at once, as ours."""
    return Next(f"{SIGN}{text}\n")


def renumbering() -> Callable[[LogMessage], LogMessage]:
    """What gives the messages of one connection to a daemon new ids."""
    known: dict[int, int] = {0: 0}

    def renumbered(message: LogMessage) -> LogMessage:
        match message:
            case StartActivity(id=number, parent=parent):
                known[number] = next(_numbers)
                return replace(message, id=known[number], parent=known.get(parent, 0))
            case StopActivity(id=number):
                return StopActivity(known.pop(number, 0))
            case Result(id=number):
                return replace(message, id=known.get(number, 0))
            case _:
                return message

    return renumbered
