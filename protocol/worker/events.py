"""All that a connection of the worker protocol can report, one closed union per role.

After `Greeted` a server is to `welcome` its client, or to `refuse` it.
"""

from dataclasses import dataclass
from typing import TypeAlias

from protocol.version import Dialect
from protocol.wire.events import (
    Asked,
    BodyData,
    BodyEnd,
    Greeted,
    PeerClosed,
    Replied,
    ReplyData,
    ReplyEnd,
)
from protocol.worker.handshake import Trust
from protocol.worker.stderr import LogMessage, NixError

__all__ = [
    "Asked",
    "BodyData",
    "BodyEnd",
    "ClientEvent",
    "Failed",
    "Greeted",
    "Logged",
    "PeerClosed",
    "Pull",
    "Replied",
    "ReplyData",
    "ReplyEnd",
    "ServerEvent",
    "Welcomed",
]

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
class Failed:
    """The answer is an error."""

    error: NixError


ClientEvent: TypeAlias = (
    Welcomed | Logged | Pull | Replied | ReplyData | ReplyEnd | Failed | PeerClosed
)
"""What a client hears of its server."""
