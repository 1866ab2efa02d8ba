"""Versions of a protocol, and what two peers agreed on.  Speaks to nobody: handshakes do that.

Worker and serve protocol number their versions the same way: a word `major << 8 | minor`.  Since
worker 1.38 the number is frozen and novelties are named features, so that two dialects are only
partially ordered: a gate asks for a number or for a feature, never for "newer".
Checked against Nix's `WorkerProto::Version`, `GET_PROTOCOL_MAJOR` and `GET_PROTOCOL_MINOR`.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol.errors import RemoteProtocolError
from protocol.store.path import STORE_DIR


class Number(NamedTuple):
    """The number of a protocol's version."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @property
    def word(self) -> int:
        """The form on the wire."""
        return self.major << 8 | self.minor

    @classmethod
    def from_word(cls, word: int) -> "Number":
        """Read the form on the wire, of which Nix uses the lower 16 bits."""
        return cls(word >> 8 & 0xFF, word & 0xFF)

    @classmethod
    def parse(cls, text: str) -> "Number":
        """Read `1.38`.

        Raises:
            RemoteProtocolError: not two decimal numbers below 256 with a dot between.
        """
        major, dot, minor = text.partition(".")
        if not (dot and major.isdecimal() and minor.isdecimal() and len(text) <= 7):
            raise RemoteProtocolError(f"not a version such as 1.38: `{text}`")
        number = cls(int(major), int(minor))
        if max(number) > 0xFF:
            raise RemoteProtocolError(f"the parts of a version stay below 256: `{text}`")
        return number


@dataclass(frozen=True, slots=True)
class Dialect:
    """What both ends of a connection agreed on: all that a layout may depend on."""

    number: Number
    features: frozenset[str] = frozenset()
    store_dir: str = STORE_DIR
    """Not negotiated, but both ends have to use the same."""

    def __str__(self) -> str:
        return " + ".join([str(self.number), *sorted(self.features)])


def negotiate(ours: Number, theirs: Number) -> Number:
    """The version two peers speak: the older one's.

    Raises:
        RemoteProtocolError: the major numbers differ.
    """
    if ours.major != theirs.major:
        raise RemoteProtocolError(
            f"protocol version {theirs} is not supported: only {ours.major}.x is"
        )
    return min(ours, theirs)


PATH_NOT_HASH: Final = "realisation-with-path-not-hash"
"""Since 2.35: outputs are named by the path of their derivation, not by its hash modulo."""

DELETE_DEAD_REFERRERS: Final = "delete-dead-specific-referrers"
"""Since 2.35: collecting garbage can be told to take the dead referrers of given paths along."""

DISABLE_SET_OPTIONS: Final = "disable-set-options"
"""Since 2.35, from daemons inside a build: `SetOptions` is not sent."""

ADD_TO_STORE_SCANNING: Final = "add-to-store-scanning"
"""2.36, from daemons inside a build: `AddToStoreScanning` exists."""

SUBMIT_OUTPUT: Final = "submit-output"
"""2.36, from daemons inside a build: `SubmitOutput` exists."""
