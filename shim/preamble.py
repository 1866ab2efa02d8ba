"""What a relay tells the daemon about the peer before the first byte of Nix's own protocol.

A session on the daemon's socket may begin with `MAGIC`, a length (u64, little endian) and that
many bytes of UTF-8 JSON: `{"peer": NAME}`.  Nix's own greetings begin with other bytes, so a plain
Nix client on the same socket is told apart by its first eight.  The daemon believes a preamble
only from the users its configuration names (`preamble-users`), by socket credentials.
"""

import json
import re
import struct
from dataclasses import dataclass
from typing import Final, Self

MAGIC: Final = b"nix-shim"
LIMIT: Final = 4096
"""Longest accepted JSON in bytes: a name and room for what later versions add."""
HEADER: Final = struct.Struct("<8sQ")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class BadPreamble(ValueError):
    """The session began with `MAGIC` but what follows is not a preamble."""


@dataclass(frozen=True, slots=True)
class Preamble:
    """The peer on whose behalf a session is opened."""

    peer: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.peer):
            raise BadPreamble(
                f"bad peer name `{self.peer}`: letters, digits and `._@+-`, at most 64"
            )

    def render(self) -> bytes:
        """The bytes that open the session."""
        body = json.dumps({"peer": self.peer}).encode()
        return HEADER.pack(MAGIC, len(body)) + body

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the JSON after the header.

        Raises:
            BadPreamble: it is no JSON object with a valid `peer`.
        """
        try:
            fields = json.loads(body)
        except ValueError as error:
            raise BadPreamble(f"not JSON: {error}") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("peer"), str):
            raise BadPreamble("no `peer` in the preamble")
        return cls(fields["peer"])


def body_length(header: bytes) -> int:
    """Length in bytes of the JSON that follows `header` (`HEADER.size` bytes).

    Raises:
        BadPreamble: longer than `LIMIT`.
    """
    _, length = HEADER.unpack(header)
    if length > LIMIT:
        raise BadPreamble(f"{length} bytes announced, at most {LIMIT} accepted")
    return int(length)
