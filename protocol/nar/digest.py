"""Hash and size of a NAR while it is read.  The reading itself is `protocol.nar.reader`."""

import hashlib

from protocol.nar.events import Event
from protocol.nar.format import MAX_DEPTH
from protocol.nar.reader import NarReader
from protocol.store.hash import Hash, HashAlgorithm


class HashingReader(NarReader):
    """A reader that also hashes what belongs to the NAR, and nothing behind its end."""

    __slots__ = ("_hasher",)

    def __init__(self, max_depth: int = MAX_DEPTH) -> None:
        super().__init__(max_depth)
        self._hasher = hashlib.sha256()

    def feed(self, data: bytes) -> list[Event]:
        """Read some more bytes; see `NarReader.feed`."""
        events = super().feed(data)
        behind = len(self.leftover)
        self._hasher.update(data[:-behind] if behind else data)
        return events

    @property
    def hash(self) -> Hash:
        """The SHA-256 of what has been read; the NAR hash once `finished`."""
        return Hash(HashAlgorithm.SHA256, self._hasher.digest())
