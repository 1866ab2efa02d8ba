"""The hash of an object that mentions its own path: that of its bytes with the own digest masked.

Every occurrence of the 32 characters becomes 32 zero bytes.  Behind the bytes, `|<decimal offset>`
is hashed for each occurrence, ascending; Nix 2.17 to 2.34 leave that out, so that one content has
two addresses. Checked against Nix's `HashModuloSink` of 2.8, 2.18, 2.34 and 2.35.
"""

import hashlib
from typing import Final

from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import DIGEST_LENGTH

_MASK: Final = bytes(DIGEST_LENGTH)


class MaskedHash:
    """Hashes one stream, in which a digest may occur."""

    def __init__(
        self,
        digest: str,
        algorithm: HashAlgorithm = HashAlgorithm.SHA256,
        *,
        with_offsets: bool = True,
    ) -> None:
        """Hash a stream.

        Args:
            digest: the 32 characters to mask.
            algorithm: any but `blake3`.
            with_offsets: whether the offsets are hashed as well; no for Nix 2.17 to 2.34.
        """
        self.offsets: list[int] = []
        """Where the digest occurred so far, ascending."""
        self.size = 0
        """How many bytes have been read."""
        self._algorithm = algorithm
        self._with_offsets = with_offsets
        self._digest = digest.encode("ascii")
        self._hasher = hashlib.new(algorithm.value, usedforsecurity=False)
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Read some more bytes."""
        block = self._tail + data
        base = self.size - len(self._tail)
        self.size += len(data)
        at = block.find(self._digest)
        if at >= 0:
            while at >= 0:
                self.offsets.append(base + at)
                at = block.find(self._digest, at + DIGEST_LENGTH)
            block = block.replace(self._digest, _MASK)
        # What could be the beginning of an occurrence waits for the rest.
        ready = max(0, len(block) - DIGEST_LENGTH + 1)
        self._hasher.update(memoryview(block)[:ready])
        self._tail = block[ready:]

    def hash(self) -> Hash:
        """The hash of all that was read; more can be read afterwards."""
        hasher = self._hasher.copy()
        hasher.update(self._tail)
        if self._with_offsets:
            hasher.update("".join(f"|{offset}" for offset in self.offsets).encode("ascii"))
        return Hash(self._algorithm, hasher.digest())
