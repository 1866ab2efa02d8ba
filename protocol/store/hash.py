"""Hashes and their four spellings.  Computes only what the standard library computes.

| spelling | example form | where Nix writes it |
|---|---|---|
| base 16 | 64 hex digits for sha256 | derivations, worker `narHash` |
| nix32 | 52 digits for sha256 | narinfo, signatures, content addresses |
| base 64 | 44 characters for sha256 | rare |
| SRI | `sha256-<base 64>` | expressions, JSON |

All but SRI may carry a prefix `sha256:`; without one the length tells base 16, nix32 and base 64
apart.  Checked against Nix's `Hash::parseAny`, `Hash::to_string`, `compressHash`.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.store import base32


class BadHash(RemoteProtocolError):
    """A text that is no hash."""


class HashAlgorithm(StrEnum):
    """The algorithms Nix names; `blake3` (experimental) can be read and written, not computed."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA512 = "sha512"
    BLAKE3 = "blake3"

    @property
    def size(self) -> int:
        """Length of a digest in bytes."""
        return _SIZES[self]

    @classmethod
    def named(cls, text: str) -> "HashAlgorithm":
        """The algorithm of that name.

        Raises:
            BadHash: there is none.
        """
        try:
            return cls(text)
        except ValueError:
            raise BadHash(f"unknown hash algorithm: `{text}`") from None


_SIZES: Final = {
    HashAlgorithm.MD5: 16,
    HashAlgorithm.SHA1: 20,
    HashAlgorithm.SHA256: 32,
    HashAlgorithm.SHA512: 64,
    HashAlgorithm.BLAKE3: 32,
}
_BASE16: Final = re.compile("[0-9a-fA-F]*").fullmatch


@dataclass(frozen=True, slots=True)
class Hash:
    """A digest and the algorithm that made it."""

    algorithm: HashAlgorithm
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != _SIZES[self.algorithm]:
            raise BadHash(
                f"a {self.algorithm} digest has {_SIZES[self.algorithm]} bytes, "
                f"not {len(self.digest)}"
            )

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.nix32()}"

    def base16(self) -> str:
        """Lower-case hex digits, without prefix."""
        return self.digest.hex()

    def nix32(self) -> str:
        """Nix's base-32 digits, without prefix."""
        return base32.encode(self.digest)

    def base64(self) -> str:
        """Standard base 64 with padding, without prefix."""
        return base64.b64encode(self.digest).decode("ascii")

    def sri(self) -> str:
        """`<algorithm>-<base 64>`."""
        return f"{self.algorithm}-{self.base64()}"

    @classmethod
    def parse(cls, text: str, algorithm: HashAlgorithm | None = None) -> "Hash":
        """Read any spelling.

        Args:
            text: with a prefix `<algorithm>:` or `<algorithm>-`, or bare when `algorithm` is given.
            algorithm: what a prefix, if there is one, has to say.

        Raises:
            BadHash: unknown algorithm, another algorithm than asked for, wrong length or
            characters.
        """
        head, separator, rest = text.partition(":")
        if not separator:
            # A bare base-64 text holds no `-`: only SRI can.
            head, separator, rest = text.partition("-")
        if not separator:
            if algorithm is None:
                raise BadHash(f"hash without the name of its algorithm: `{text}`")
            return cls(algorithm, _digest(text, algorithm, text))
        named = HashAlgorithm.named(head)
        if algorithm not in {None, named}:
            raise BadHash(f"expected a {algorithm} hash: `{text}`")
        if separator == "-" and len(rest) != _length64(named.size):
            raise BadHash(f"an SRI hash is written in base 64: `{text}`")
        return cls(named, _digest(rest, named, text))

    @classmethod
    def of(cls, data: bytes, algorithm: HashAlgorithm = HashAlgorithm.SHA256) -> "Hash":
        """The hash of some bytes.

        Raises:
            LocalProtocolError: the standard library does not know the algorithm (`blake3`).
        """
        try:
            # Nix names md5 and sha1 hashes; nothing is protected by them here.
            digest = hashlib.new(algorithm.value, data, usedforsecurity=False).digest()
        except ValueError:
            raise LocalProtocolError(f"cannot compute a {algorithm} hash") from None
        return cls(algorithm, digest)


def _length64(size: int) -> int:
    return -(-size // 3) * 4


def _digest(text: str, algorithm: HashAlgorithm, whole: str) -> bytes:
    size = algorithm.size
    try:
        if len(text) == size * 2 and _BASE16(text):
            return bytes.fromhex(text)
        if len(text) == base32.encoded_length(size):
            return base32.decode(text)
        if len(text) == _length64(size):
            digest = base64.b64decode(text, validate=True)
            if base64.b64encode(digest).decode("ascii") == text:
                return digest
    except (RemoteProtocolError, ValueError):
        pass  # not the characters of that base: the message below says it all
    raise BadHash(f"not a {algorithm} hash: `{whole}`")


def compress(digest: bytes, size: int = 20) -> bytes:
    """Fold a digest to `size` bytes by exclusive or, as the digests in store paths are."""
    folded = 0
    for start in range(0, len(digest), size):
        folded ^= int.from_bytes(digest[start : start + size], "little")
    return folded.to_bytes(size, "little")
