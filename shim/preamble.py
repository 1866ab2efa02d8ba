"""What a relay tells the daemon about the peer before the first byte of Nix's own protocol.

A session on the daemon's socket may begin with `MAGIC`, a length (u64, little endian) and that
many bytes of UTF-8 JSON with the fields of `Preamble`.  Nix's own greetings begin with other bytes,
so a plain Nix client on the same socket is told apart by its first eight.  The daemon believes a
preamble only from the users its configuration names (`preamble-users`), by socket credentials.
"""

import json
import re
import struct
from enum import StrEnum
from typing import Final, NamedTuple, Self

MAGIC: Final = b"nix-shim"
LIMIT: Final = 1 << 20
"""Longest accepted JSON in bytes: a command may name thousands of store paths."""
HEADER: Final = struct.Struct("<8sQ")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class BadPreamble(ValueError):
    """The session began with `MAGIC` but what follows is not a preamble."""


class Speaks(StrEnum):
    """What the peer says after the preamble, and how the daemon answers."""

    WORKER = "worker"
    """Nix's worker protocol, both ways as it is."""
    SERVE = "serve"
    """Nix's serve protocol; what comes back is `shim.channels` frames."""
    COMMAND = "command"
    """The standard input of the command in `arguments`; `shim.channels` frames come back."""
    CONTROL = "control"
    """An operator's questions about the daemon itself, a line of JSON each way."""


class _Fields(NamedTuple):
    peer: str
    speaks: Speaks = Speaks.WORKER
    arguments: tuple[str, ...] = ()
    tells_endings: bool = False


class Preamble(_Fields):
    """The peer on whose behalf a session is opened, and what it will speak.

    Not a dataclass: importing `dataclasses` takes a relay a fifth of its time.
    """

    __slots__ = ()

    def __new__(
        cls,
        peer: str,
        speaks: Speaks = Speaks.WORKER,
        arguments: tuple[str, ...] = (),
        tells_endings: bool = False,
    ) -> Self:
        """See the class.

        Args:
            peer: its name.
            speaks: what follows.
            arguments: the command, for `Speaks.COMMAND`.
            tells_endings: whether the relay half-closes when its client ends in an orderly way, so
                that a connection that is closed at once tells of a client that was lost.

        Raises:
            BadPreamble: the name is none.
        """
        if not NAME.fullmatch(peer):
            raise BadPreamble(f"bad peer name `{peer}`: letters, digits and `._@+-`, at most 64")
        return super().__new__(cls, peer, speaks, arguments, tells_endings)

    def render(self) -> bytes:
        """The bytes that open the session."""
        fields = {
            "peer": self.peer,
            "speaks": self.speaks.value,
            "arguments": self.arguments,
            "tells-endings": self.tells_endings,
        }
        body = json.dumps(fields).encode()
        return HEADER.pack(MAGIC, len(body)) + body

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the JSON after the header.

        Raises:
            BadPreamble: it is no JSON object with these fields; all but `peer` may be absent.
        """
        try:
            fields = json.loads(body)
        except ValueError as error:
            raise BadPreamble(f"not JSON: {error}") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("peer"), str):
            raise BadPreamble("no `peer` in the preamble")
        arguments = fields.get("arguments", [])
        endings = fields.get("tells-endings", False)
        if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
            raise BadPreamble("`arguments` in the preamble is no list of strings")
        if not isinstance(endings, bool):
            raise BadPreamble("`tells-endings` in the preamble is neither true nor false")
        try:
            speaks = Speaks(fields.get("speaks", Speaks.WORKER))
        except ValueError as error:
            raise BadPreamble(f"`speaks` in the preamble: {error}") from error
        return cls(fields["peer"], speaks, tuple(arguments), endings)


def body_length(header: bytes) -> int:
    """Length in bytes of the JSON that follows `header` (`HEADER.size` bytes).

    Raises:
        BadPreamble: longer than `LIMIT`.
    """
    _, length = HEADER.unpack(header)
    if length > LIMIT:
        raise BadPreamble(f"{length} bytes announced, at most {LIMIT} accepted")
    return int(length)
