"""Reading a stream of values piece by piece, in whatever pieces its bytes come."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from protocol.errors import RemoteProtocolError
from protocol.wire.source import Source, Underrun

E = TypeVar("E")


class PieceReader(ABC, Generic[E]):
    """One stream.  Holds no more than the value that has not come whole."""

    LAST: ClassVar[str]
    """What nothing may come behind, for messages."""
    CUT: ClassVar[str]
    """What is said of a stream that ends too early."""

    def __init__(self, first: int) -> None:
        """See the class.

        Args:
            first: bytes that the first value may take.
        """
        self._source = Source()
        self._source.begin(first)

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the stream is complete."""

    @abstractmethod
    def _step(self, events: list[E]) -> None:
        """Read the next value; `Underrun` where it has not come whole."""

    def feed(self, data: bytes) -> list[E]:
        """Read some more of the stream.

        Raises:
            RemoteProtocolError: it breaks a rule, or goes on behind its end.
        """
        self._source.feed(data)
        events: list[E] = []
        if not self._source.starved:
            try:
                while not self.finished:
                    self._step(events)
            except Underrun:
                return events
            if left := len(self._source):
                raise RemoteProtocolError(f"{left} bytes are left over behind {self.LAST}")
        return events

    def end(self) -> None:
        """Say that no more bytes come.

        Raises:
            RemoteProtocolError: something is missing.
        """
        if not self.finished:
            raise RemoteProtocolError(self.CUT)
