"""What a relay tells the daemon about the peer before the first byte of Nix's own protocol.

A session on the daemon's socket may begin with `MAGIC`, a length (u64, little endian) and that
many bytes of UTF-8 JSON with the fields of `Preamble`.  Nix's own greetings begin with other bytes,
so a plain Nix client on the same socket is told apart by its first eight.  The daemon believes a
preamble only from the users its configuration names (`preamble-users`), by socket credentials.

`nix-shim stdio` imports this on every connection, so it must stay small.
"""

from __future__ import annotations

import struct

from shim.small import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import ClassVar, Final, Self

MAGIC: Final = b"nix-shim"
LIMIT: Final = 1 << 20
"""Longest accepted JSON in bytes: a command may name thousands of store paths."""
HEADER: Final = struct.Struct("<8sQ")
LONGEST_NAME: Final = 64


class BadPreamble(ValueError):
    """The session began with `MAGIC` but what follows is not a preamble."""


class Speaks(str):
    """What the peer says after the preamble, and how the daemon answers: one of four words."""

    __slots__ = ()

    WORKER: ClassVar[Speaks]
    """Nix's worker protocol, both ways as it is."""
    SERVE: ClassVar[Speaks]
    """Nix's serve protocol; what comes back is `shim.channels` frames."""
    COMMAND: ClassVar[Speaks]
    """The standard input of the command in `arguments`; `shim.channels` frames come back."""
    CONTROL: ClassVar[Speaks]
    """An operator's questions about the daemon itself, a line of JSON each way."""


Speaks.WORKER = Speaks("worker")
Speaks.SERVE = Speaks("serve")
Speaks.COMMAND = Speaks("command")
Speaks.CONTROL = Speaks("control")

_SPOKEN: Final[Mapping[str, Speaks]] = {
    str(each): each for each in (Speaks.WORKER, Speaks.SERVE, Speaks.COMMAND, Speaks.CONTROL)
}


class Preamble(Value):
    """The peer on whose behalf a session is opened, and what it will speak."""

    __slots__ = ("arguments", "peer", "speaks", "tells_endings")

    def __init__(
        self,
        peer: str,
        speaks: Speaks = Speaks.WORKER,
        arguments: tuple[str, ...] = (),
        tells_endings: bool = False,
    ) -> None:
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
        if not is_name(peer):
            raise BadPreamble(
                f"bad peer name `{peer}`: letters, digits and `._@+-`, at most {LONGEST_NAME}"
            )
        self.peer: Final = peer
        self.speaks: Final = speaks
        self.arguments: Final = arguments
        self.tells_endings: Final = tells_endings

    def render(self) -> bytes:
        """The bytes that open the session."""
        body = (
            f'{{"peer": {_quoted(self.peer)}, "speaks": {_quoted(self.speaks)},'
            f' "arguments": [{", ".join(map(_quoted, self.arguments))}],'
            f' "tells-endings": {"true" if self.tells_endings else "false"}}}'
        ).encode("ascii")
        return HEADER.pack(MAGIC, len(body)) + body

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the JSON after the header.

        Raises:
            BadPreamble: it is no JSON object with these fields; all but `peer` may be absent.
        """
        import json  # noqa: PLC0415 - relays never parse one, and start without it

        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadPreamble(f"not JSON: {error}") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("peer"), str):
            raise BadPreamble("no `peer` in the preamble")
        arguments = fields.get("arguments", [])
        endings = fields.get("tells-endings", False)
        if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
            raise BadPreamble("`arguments` in the preamble is no list of strings")
        if not isinstance(endings, bool):
            raise BadPreamble("`tells-endings` in the preamble is neither true nor false")
        said = fields.get("speaks", Speaks.WORKER)
        speaks = _SPOKEN.get(said) if isinstance(said, str) else None
        if speaks is None:
            raise BadPreamble(f"`speaks` in the preamble is none of {', '.join(_SPOKEN)}: `{said}`")
        return cls(fields["peer"], speaks, tuple(arguments), endings)


def is_name(text: str) -> bool:
    """Whether a peer may be called `text`: it goes into logs, file names and command lines."""
    return (
        0 < len(text) <= LONGEST_NAME
        and text.isascii()
        and text[0].isalnum()
        and all(each.isalnum() or each in "._@+-" for each in text)
    )


def _quoted(text: str) -> str:
    """`text` as a JSON string in ASCII, with what is not plain as escapes of UTF-16."""
    return f'"{"".join(each if _is_plain(each) else _escaped(each) for each in text)}"'


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isprintable() and character not in '"\\'


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[each : each + 2].hex()}" for each in range(0, len(units), 2))


def body_length(header: bytes) -> int:
    """Length in bytes of the JSON that follows `header` (`HEADER.size` bytes).

    Raises:
        BadPreamble: longer than `LIMIT`.
    """
    _, length = HEADER.unpack(header)
    if length > LIMIT:
        raise BadPreamble(f"{length} bytes announced, at most {LIMIT} accepted")
    return int(length)
