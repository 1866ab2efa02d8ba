"""What a connection of the serve protocol can report.  Adding a member breaks every match on it.

`Greeted` ends the handshake on either side.  A client closes between two commands, or to cancel the
one it waits for; a server closes because a command failed, having said why on its standard error.
"""

from typing import TypeAlias

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

__all__ = [
    "Asked",
    "BodyData",
    "BodyEnd",
    "ClientEvent",
    "Greeted",
    "PeerClosed",
    "Replied",
    "ReplyData",
    "ReplyEnd",
    "ServerEvent",
]

ServerEvent: TypeAlias = Greeted | Asked | BodyData | BodyEnd | PeerClosed
"""All that a client can do."""

ClientEvent: TypeAlias = Greeted | Replied | ReplyData | ReplyEnd | PeerClosed
"""All that a server can do."""
