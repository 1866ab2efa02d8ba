"""The receive buffer: bytes in, however they are cut; values out of its front.

A codec reads from the front.  What it needs must be there as a whole; if it is not, `Underrun`
is raised and the same `get` is called again once more bytes were fed.  Nothing is read twice:

* a primitive takes all of its bytes or none;
* a composite that is interrupted leaves what it has got with `save`, and begins its next `get` by
  asking `resume` for it.  Interrupted composites save from the innermost outwards and resume from
  the outermost inwards, so that a stack is enough to find each its own state.

Therefore a value that arrives in many pieces costs time in proportion to its length, and its bytes
are held only once.  `begin` sets how long it may be.
"""

from struct import Struct
from typing import Any, Final, NoReturn

from protocol.errors import LimitExceeded, LocalProtocolError

WORD: Final = Struct("<Q")
"""Every number on the wire: 8 bytes, little endian."""

_unpack: Final = WORD.unpack_from


class Underrun(Exception):
    """The value is longer than what has arrived: feed more and try again."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"at least {missing} more bytes are needed")
        self.missing = missing
        """How many bytes are needed at least before trying again makes sense."""
        self.path: tuple[str, ...] = ()
        """The field that is incomplete, from the outermost value inwards."""


class Source:
    """See the module.  Codecs may read `data` and move `at`; nobody else should."""

    __slots__ = ("_dropped", "_limit", "_missing", "_pieces", "_saved", "at", "data")

    def __init__(self, data: bytes = b"", limit: int | None = None) -> None:
        self.data = data
        self.at = 0
        self._pieces: list[bytes] = []
        self._missing = 0
        self._saved: list[Any] = []
        self._dropped = 0
        self._limit = limit

    def __len__(self) -> int:
        """How many bytes have been fed and not been read."""
        return len(self.data) - self.at + sum(map(len, self._pieces))

    def begin(self, limit: int | None) -> None:
        """Say that a value of at most `limit` bytes, or a body of any length, begins here.

        Raises:
            LocalProtocolError: the value before has been left unfinished.
        """
        if self._saved:
            raise LocalProtocolError("a value has been left in its middle")
        self._dropped = -self.at
        self._limit = limit

    @property
    def starved(self) -> bool:
        """Whether trying again is of no use until more bytes have been fed."""
        return self._missing > 0

    @property
    def inside(self) -> bool:
        """Whether part of a value has arrived and its rest has not."""
        return bool(self._saved or self._pieces) or self.at < len(self.data)

    def feed(self, data: bytes) -> None:
        """Append bytes as they arrive."""
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing = 0
            self._join()

    def _join(self) -> None:
        self._dropped += self.at
        if self.at == len(self.data) and len(self._pieces) == 1:
            self.data = self._pieces[0]
        else:
            self.data = b"".join((memoryview(self.data)[self.at :], *self._pieces))
        self.at = 0
        self._pieces.clear()

    def lack(self, missing: int) -> NoReturn:
        """Interrupt: the front value needs `missing` bytes more than are there.

        Raises:
            Underrun: always, unless the value would pass its limit.
            LimitExceeded: it would.
        """
        size = self._dropped + len(self.data) + missing
        if self._limit is not None and size > self._limit:
            raise LimitExceeded(
                f"a value of at least {size} bytes, at most {self._limit} are accepted"
            )
        self._missing = missing
        raise Underrun(missing)

    def save(self, state: Any) -> None:
        """Keep the state of an interrupted composite."""
        self._saved.append(state)

    def resume(self) -> Any:
        """The state that this composite saved when it was interrupted; None on a first call."""
        return self._saved.pop() if self._saved else None

    def u64(self) -> int:
        """A number of 8 bytes."""
        at = self.at
        end = at + 8
        if end > len(self.data):
            self.lack(end - len(self.data))
        self.at = end
        number: int = _unpack(self.data, at)[0]
        return number

    def peek(self) -> int:
        """The number that comes next, left where it is."""
        number = self.u64()
        self.at -= 8
        return number

    def take_some(self, most: int | None = None) -> bytes:
        """All that is there, up to `most` bytes; without a copy where the buffer is passed whole.

        Raises:
            Underrun: nothing is there.
        """
        data, at = self.data, self.at
        if at == len(data):
            self._missing = 1
            raise Underrun(1)
        end = len(data) if most is None else min(len(data), at + most)
        self.at = end
        return data if at == 0 and end == len(data) else data[at:end]

    def take_all(self) -> bytes:
        """All that was fed and has not been read, possibly nothing."""
        data = b"".join((memoryview(self.data)[self.at :], *self._pieces))
        self.data, self.at, self._missing = b"", 0, 0
        self._pieces.clear()
        return data

    def skip(self, most: int) -> int:
        """Leave out what is there, up to `most` bytes; how many that were.

        Raises:
            Underrun: nothing is there.
        """
        there = len(self.data) - self.at
        if not there:
            self._missing = 1
            raise Underrun(1)
        skipped = min(there, most)
        self.at += skipped
        return skipped

    def untake(self, count: int) -> None:
        """Put the last `count` bytes of what `take_some` gave back to the front."""
        self.at -= count
