"""Events to the bytes of a NAR.  Holds no contents, and refuses what a reader would refuse.

The events come in the order of `protocol.nar.events`; anything else is a mistake of ours.
"""

from collections.abc import Iterable
from typing import assert_never

from protocol.errors import LocalProtocolError
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.nar.format import (
    CLOSE,
    DIRECTORY,
    ENTRY,
    EXECUTABLE,
    MAGIC,
    MAX_FILE,
    MAX_NAME,
    MAX_TARGET,
    NODE,
    REGULAR,
    SYMLINK,
    is_name,
    is_target,
    show,
    token,
)


class NarWriter:
    """One NAR, written piece by piece."""

    __slots__ = ("_in_file", "_left", "_names", "_padding", "_wants_node", "finished")

    def __init__(self) -> None:
        self.finished = False
        """Whether the root node is complete."""
        # One name per open directory: that of its latest entry, empty before the first.
        self._names: list[bytes] = []
        self._wants_node = True
        self._in_file = False
        self._left = 0
        self._padding = 0

    def write(self, event: Event) -> bytes:
        """The bytes of one event; those of `Data` are the data itself, without a copy.

        Raises:
            LocalProtocolError: the event cannot come here, or NAR has no way to say it.
        """
        match event:
            case Data(data):
                return self._contents(data)
            case Entry(name):
                return self._entry(name)
            case End():
                return self._end()
            case Regular(executable, size):
                head = self._open_node(event)
                if not 0 <= size <= MAX_FILE:
                    raise LocalProtocolError(f"a file cannot have {size} bytes")
                self._in_file = True
                self._left = size
                self._padding = -size % 8
                kind = EXECUTABLE if executable else REGULAR
                return head + kind + size.to_bytes(8, "little")
            case Directory():
                head = self._open_node(event)
                self._names.append(b"")
                return head + DIRECTORY
            case Symlink(target):
                head = self._open_node(event)
                if not is_target(target) or len(target) > MAX_TARGET:
                    raise LocalProtocolError(f"no target of a symbolic link: `{show(target)}`")
                return head + SYMLINK + token(target) + self._close_node()
            case _:
                assert_never(event)

    def write_all(self, events: Iterable[Event]) -> bytes:
        """The bytes of several events, as one text.

        Raises:
            LocalProtocolError: as `write`.
        """
        return b"".join([self.write(event) for event in events])

    def _open_node(self, event: Event) -> bytes:
        if not self._wants_node or self.finished:
            raise LocalProtocolError(f"no node can begin here: {event}")
        self._wants_node = False
        return b"" if self._names else MAGIC

    def _contents(self, data: bytes) -> bytes:
        if not self._in_file or len(data) > self._left:
            raise LocalProtocolError(f"{len(data)} bytes of contents where {self._left} are due")
        self._left -= len(data)
        return data

    def _entry(self, name: bytes) -> bytes:
        if not self._names or self._wants_node or self._in_file:
            raise LocalProtocolError(f"no entry can come here: `{show(name)}`")
        if not is_name(name) or len(name) > MAX_NAME:
            raise LocalProtocolError(f"not a name of a directory entry: `{show(name)}`")
        if name <= self._names[-1]:
            raise LocalProtocolError(
                f"entry `{show(name)}` behind `{show(self._names[-1])}`: names have to ascend"
            )
        self._names[-1] = name
        self._wants_node = True
        return ENTRY + token(name) + NODE

    def _end(self) -> bytes:
        if self._in_file:
            if self._left:
                raise LocalProtocolError(f"a file ends with {self._left} bytes missing")
            self._in_file = False
            return bytes(self._padding) + self._close_node()
        if not self._names or self._wants_node:
            raise LocalProtocolError("nothing is open that could end here")
        self._names.pop()
        return self._close_node()

    def _close_node(self) -> bytes:
        if self._names:
            return CLOSE + CLOSE
        self.finished = True
        return CLOSE
