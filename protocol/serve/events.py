"""What a connection of the serve protocol can report.  Adding a member breaks every match on it."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from protocol.version import Dialect
from protocol.wire.operation import Operation, Request


@dataclass(frozen=True, slots=True)
class Greeted:
    """The handshake is over, on either side."""

    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Asked:
    """The client asks; a body follows if `operation.body` says so."""

    request: Request[Any]
    operation: Operation


@dataclass(frozen=True, slots=True)
class BodyData:
    """Some of the request's body."""

    data: bytes


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """The request's body is complete: it is the server's turn."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The server's answer; a body follows if the operation's `reply_body` says so."""

    value: Any


@dataclass(frozen=True, slots=True)
class ReplyData:
    """Some of the reply's body."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """The reply's body is complete."""


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The other end closed the connection where that is in order.

    A client does so between two commands, or to cancel the command it waits for.  A server does so
    because the command failed: it said why on its standard error.
    """


ServerEvent: TypeAlias = Greeted | Asked | BodyData | BodyEnd | PeerClosed
"""All that a client can do."""

ClientEvent: TypeAlias = Greeted | Replied | ReplyData | ReplyEnd | PeerClosed
"""All that a server can do."""
