"""Messages of a recording as lines for people: time, direction, what was said.

One line per message; what a body consists of is only counted, and long values are cut.  Control
characters never reach the terminal: recordings hold what builders print.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, assert_never

from protocol.store.content_address import ContentAddress
from protocol.store.hash import Hash
from protocol.transcript.decode import Event, Message
from protocol.transcript.record import Direction
from protocol.worker import events as worker

LONGEST: Final = 400
"""Characters of a line, its time aside."""

_ARROWS: Final = {Direction.TO_SERVER: "C >", Direction.TO_CLIENT: "S <"}


def lines(messages: Iterable[Message]) -> Iterator[str]:
    """One line per message; pieces of bodies are summed up in one."""
    size = 0
    for message in messages:
        match message.event:
            case worker.BodyData(data) | worker.ReplyData(data):
                size += len(data)
                continue
            case worker.BodyEnd() | worker.ReplyEnd():
                said, size = f"body of {size} bytes", 0
            case _:
                said = describe(message.event)
        arrow = _ARROWS[message.direction]
        yield f"{message.microseconds / 1e6:10.6f} {arrow} {_cut(said)}"


def describe(event: Event) -> str:
    """What an event says, on one line of any length."""
    match event:
        case worker.Greeted(dialect):
            return f"speaks {dialect}"
        case worker.Welcomed(_, daemon_version, trust):
            return f"welcome from Nix `{daemon_version}`, client is {trust.name}"
        case worker.Asked(request, operation):
            return f"{operation.name} {_fields(request)}".rstrip()
        case worker.Logged(message):
            return f"log: {type(message).__name__} {_fields(message)}"
        case worker.Pull(size):
            return f"pulls at most {size} bytes"
        case worker.Replied(value):
            return "done" if value is None else f"reply: {_show(value)}"
        case worker.Failed(error):
            return f"error: {_fields(error)}"
        case worker.BodyData() | worker.ReplyData():
            return f"{len(event.data)} bytes of a body"
        case worker.BodyEnd() | worker.ReplyEnd():
            return "end of the body"
        case worker.PeerClosed():
            return "closes"
        case _:
            assert_never(event)


def _fields(value: Any) -> str:
    """The fields of a record that say something."""
    return " ".join(
        f"{field.name}={_show(getattr(value, field.name))}"
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    )


def _show(value: Any) -> str:
    match value:
        case None:
            return "none"
        case Enum():
            return value.name
        case str():
            return _text(value)
        case Hash() | ContentAddress():
            return str(value)
        case Mapping():
            inner = ", ".join(f"{_show(key)}: {_show(item)}" for key, item in value.items())
            return f"{{{inner}}}"
        case frozenset():
            return f"{{{', '.join(sorted(map(_show, value)))}}}"
        case tuple():
            return f"[{', '.join(map(_show, value))}]"
        case _ if dataclasses.is_dataclass(value):
            return f"{type(value).__name__}({_fields(value)})"
        case _:
            return str(value)


def _text(value: str) -> str:
    """A text on one line; bare where it is made of harmless characters only."""
    bare = bool(value) and all(char.isalnum() or char in "/._+-?=:!*," for char in value)
    return value if bare else ascii(value)


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."
