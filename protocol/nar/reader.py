"""Bytes of a NAR to events, however they are cut.  Reads no files and keeps no contents.

The end of a NAR is the parenthesis that closes its root: nothing on the wire tells its length.
`feed` therefore takes whatever has come, and once `finished` is true `leftover` holds what lies
behind.

Besides the last incomplete token (below 5 KiB) and the names of the open directories nothing is
held. A piece of contents that fills the whole of what is fed is passed on without a copy.
"""

from collections.abc import Callable
from typing import Final, NoReturn

from protocol.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.nar.format import (
    CLOSE,
    DIRECTORY,
    ENTRY,
    EXECUTABLE,
    MAGIC,
    MAX_DEPTH,
    MAX_FILE,
    MAX_NAME,
    MAX_TARGET,
    NODE,
    REGULAR,
    SYMLINK,
    BadNar,
    is_name,
    is_target,
    show,
)

_DIRECTORY: Final = Directory()
_END: Final = End()

_LONGEST: Final = max(len(tokens) for tokens in (MAGIC, REGULAR, EXECUTABLE, DIRECTORY, SYMLINK))

# The readable form of what was expected, for messages.
_SHOWN: Final = {
    MAGIC: "`nix-archive-1`",
    CLOSE: "`)`",
    REGULAR: "a regular file",
    EXECUTABLE: "an executable file",
    DIRECTORY: "a directory",
    SYMLINK: "a symbolic link",
    ENTRY: "an entry",
    NODE: "`node`",
}


class NarReader:
    """One NAR, read piece by piece."""

    __slots__ = (
        "_at",
        "_buffer",
        "_events",
        "_left",
        "_max_depth",
        "_names",
        "_padding",
        "_passed",
        "_step",
        "finished",
    )

    def __init__(self, max_depth: int = MAX_DEPTH) -> None:
        self.finished = False
        """Whether the root node is complete."""
        self._max_depth = max_depth
        self._buffer = b""
        self._at = 0
        self._passed = 0
        # One name per open directory: that of its latest entry, empty before the first.
        self._names: list[bytes] = []
        self._left = 0
        self._padding = 0
        self._events: list[Event] = []
        self._step: Callable[[], bool] = self._magic

    @property
    def leftover(self) -> bytes:
        """What was fed beyond the end of the NAR; empty while it is not `finished`."""
        return self._buffer if self.finished else b""

    @property
    def offset(self) -> int:
        """How many bytes of the NAR have been read; its size once `finished`."""
        return self._passed + self._at

    @property
    def contents_left(self) -> int:
        """How many bytes of a file come next, whatever they are; 0: a look has to be taken."""
        return self._left if self._step == self._contents and not self._buffer else 0

    def skip(self, count: int) -> None:
        """Leave out bytes of a file, at most `contents_left`: somebody else has seen to them."""
        self._left -= count
        self._passed += count

    def feed(self, data: bytes) -> list[Event]:
        """Read some more bytes.

        Raises:
            BadNar: the bytes are no NAR; the message says where.  The reader is of no use then.
            LimitExceeded: a limit of `protocol.nar.format` was announced to be passed.
            LocalProtocolError: the NAR had ended with an earlier call.
        """
        if self.finished:
            raise LocalProtocolError("this NAR has ended: start another reader")
        self._buffer = self._buffer + data if self._buffer else data
        self._at = 0
        events: list[Event] = []
        self._events = events
        while self._step():
            pass
        self._buffer = self._buffer[self._at :]
        self._passed += self._at
        self._at = 0
        return events

    def end(self) -> None:
        """Say that no more bytes come.

        Raises:
            BadNar: the NAR is not complete.
        """
        if not self.finished:
            raise BadNar(
                f"the NAR ends after {self._passed + len(self._buffer)} bytes, in its middle"
            )

    # Each step reads one construct as a whole and says whether it could, or leaves it for later.

    def _magic(self) -> bool:
        if self._expect(MAGIC) is None:
            return False
        self._at += len(MAGIC)
        self._step = self._node
        return True

    def _node(self) -> bool:
        head = self._expect(REGULAR, DIRECTORY, EXECUTABLE, SYMLINK)
        if head is None:
            return False
        if len(self._names) >= self._max_depth:
            self._refuse(f"nodes nested more than {self._max_depth} deep", LimitExceeded)
        if head is DIRECTORY:
            self._at += len(DIRECTORY)
            self._names.append(b"")
            self._events.append(_DIRECTORY)
            self._step = self._entry
            return True
        if head is SYMLINK:
            return self._symlink()
        start = self._at + len(head)
        announced = self._buffer[start : start + 8]
        if len(announced) < 8:
            return False
        size = int.from_bytes(announced, "little")
        if size > MAX_FILE:
            self._refuse(f"a file of {size} bytes, at most {MAX_FILE} are possible", LimitExceeded)
        self._at = start + 8
        self._left = size
        self._padding = -size % 8
        self._events.append(Regular(head is EXECUTABLE, size))
        self._step = self._contents
        return True

    def _symlink(self) -> bool:
        found = self._text(self._at + len(SYMLINK), MAX_TARGET, "symbolic link's target")
        if found is None:
            return False
        target, end = found
        if not is_target(target):
            self._refuse(f"not a target of a symbolic link: `{show(target)}`")
        self._at = end
        self._events.append(Symlink(target))
        self._step = self._close_symlink
        return True

    def _contents(self) -> bool:
        left = self._left
        if left:
            buffer, at = self._buffer, self._at
            piece = buffer[at : at + left] if at or len(buffer) > left else buffer
            if not piece:
                return False
            self._events.append(Data(piece))
            self._at = at + len(piece)
            self._left = left - len(piece)
            if self._left:
                return False
        self._step = self._close_file
        return True

    def _close_file(self) -> bool:
        start = self._at
        end = start + self._padding
        padding = self._buffer[start:end]
        if padding.strip(b"\0"):
            self._refuse("padding behind a file's contents is not zero")
        self._at = end
        if len(padding) < self._padding or self._expect(CLOSE) is None:
            self._at = start
            return False
        self._at += len(CLOSE)
        self._events.append(_END)
        self._step = self._node_closed()
        return True

    def _close_symlink(self) -> bool:
        if self._expect(CLOSE) is None:
            return False
        self._at += len(CLOSE)
        self._step = self._node_closed()
        return True

    def _close_entry(self) -> bool:
        if self._expect(CLOSE) is None:
            return False
        self._at += len(CLOSE)
        self._step = self._entry
        return True

    def _entry(self) -> bool:
        head = self._expect(ENTRY, CLOSE)
        if head is None:
            return False
        names = self._names
        if head is CLOSE:
            self._at += len(CLOSE)
            names.pop()
            self._events.append(_END)
            self._step = self._node_closed()
            return True
        found = self._text(self._at + len(ENTRY), MAX_NAME, "directory entry's name")
        if found is None:
            return False
        name, end = found
        if not is_name(name):
            self._refuse(f"not a name of a directory entry: `{show(name)}`")
        if name <= names[-1]:
            self._refuse(f"entry `{show(name)}` behind `{show(names[-1])}`: names have to ascend")
        start, self._at = self._at, end
        if self._expect(NODE) is None:
            self._at = start
            return False
        self._at += len(NODE)
        names[-1] = name
        self._events.append(Entry(name))
        self._step = self._node
        return True

    def _node_closed(self) -> Callable[[], bool]:
        if self._names:
            return self._close_entry
        self.finished = True
        return _stop

    def _expect(self, *alternatives: bytes) -> bytes | None:
        """Which one comes next; None when too little is there to tell."""
        buffer, at = self._buffer, self._at
        for tokens in alternatives:
            if buffer.startswith(tokens, at):
                return tokens
        found = buffer[at : at + _LONGEST]
        if any(tokens.startswith(found) for tokens in alternatives):
            return None
        self._at += max(_agreement(found, tokens) for tokens in alternatives)
        names = " or ".join(_SHOWN[tokens] for tokens in alternatives)
        found = buffer[self._at : self._at + 24]
        return self._refuse(f"expected {names}, found `{show(found)}`")

    def _text(self, at: int, limit: int, what: str) -> tuple[bytes, int] | None:
        """A token of any content and where it ends; None when it is not there as a whole."""
        buffer = self._buffer
        announced = buffer[at : at + 8]
        if len(announced) < 8:
            return None
        size = int.from_bytes(announced, "little")
        if size > limit:
            self._refuse(f"a {what} of {size} bytes, at most {limit} are possible", LimitExceeded)
        start = at + 8
        end = start + size
        padded = end + -size % 8
        if len(buffer) < padded:
            return None
        if buffer[end:padded].strip(b"\0"):
            self._refuse(f"padding behind a {what} is not zero")
        return buffer[start:end], padded

    def _refuse(self, message: str, kind: type[RemoteProtocolError] = BadNar) -> NoReturn:
        where = b"/".join(filter(None, self._names))
        inside = f" (in `{show(where)}`)" if where else ""
        self._step = self._broken
        raise kind(f"bad NAR at byte {self.offset}{inside}: {message}")

    def _broken(self) -> NoReturn:
        raise LocalProtocolError("this NAR has been refused: start another reader")


def _agreement(found: bytes, tokens: bytes) -> int:
    """How many bytes of whole words of eight are equal."""
    words = range(0, len(tokens), 8)
    return next(at for at in words if found[at : at + 8] != tokens[at : at + 8])


def _stop() -> bool:
    return False
