"""What happens on a connection of either protocol: greetings, requests, replies, their bodies."""

from dataclasses import dataclass
from typing import Any

from protocol.version import Dialect
from protocol.wire.operation import Operation, Request


@dataclass(frozen=True, slots=True)
class Greeted:
    """The peer has said all of its greeting."""

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
    """The request's body is complete: it is the server's turn."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer; a body follows if the operation's `reply_body` says so."""

    value: Any


@dataclass(frozen=True, slots=True)
class ReplyData:
    """Some of a reply's body, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """The reply's body is complete."""


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer has ended the connection where it may."""
