"""All that a connection can report, one closed union per role."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from protocol.version import Dialect
from protocol.wire.operation import Operation, Request
from protocol.worker.handshake import Trust
from protocol.worker.stderr import LogMessage, NixError


@dataclass(frozen=True, slots=True)
class Greeted:
    """A client has said all of its greeting: `welcome` it, or `fail`."""

    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Asked:
    """A client asks; a body follows if `operation.body` says so."""

    request: Request[Any]
    operation: Operation


@dataclass(frozen=True, slots=True)
class BodyData:
    """Some of a request's body, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """The request's body is complete."""


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer has ended the connection where it may."""


ServerEvent: TypeAlias = Greeted | Asked | BodyData | BodyEnd | PeerClosed
"""What a server hears of its client."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The server is ready to be asked."""

    dialect: Dialect
    daemon_version: str
    """Of its Nix; empty below 1.33."""
    trust: Trust


@dataclass(frozen=True, slots=True)
class Logged:
    """The server tells what it does."""

    message: LogMessage


@dataclass(frozen=True, slots=True)
class Pull:
    """The server wants the next piece of the body, of 1 to `size` bytes (below 1.23)."""

    size: int


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer; if the operation's reply has a body, it follows."""

    value: Any


@dataclass(frozen=True, slots=True)
class ReplyData:
    """Some of a reply's body, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """The reply's body is complete."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer is an error."""

    error: NixError


ClientEvent: TypeAlias = (
    Welcomed | Logged | Pull | Replied | ReplyData | ReplyEnd | Failed | PeerClosed
)
"""What a client hears of its server."""
