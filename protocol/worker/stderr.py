"""What a daemon says while it works, and how it ends: log messages, pulls, errors, the last word.

| number | message | behind it |
|---|---|---|
| `0x6f6c6d67` | `Next` | text |
| `0x64617461` | `Read` | `u64` most bytes wanted |
| `0x64617416` | `Write` | bytes |
| `0x616c7473` | `Last` | |
| `0x63787470` | `NixError` | below 1.26: message, `u64` exit status; since: see `_error` |
| `0x53545254` | `StartActivity` | `u64` id, level, type, text, fields, `u64` parent |
| `0x53544f50` | `StopActivity` | `u64` id |
| `0x52534c54` | `Result` | `u64` id, type, fields |

Fields are a count and for each `u64` 0 and a number, or `u64` 1 and a text.  Nix 2.3 has no level
"notice", so that its numbers from 2 on are one lower; here levels are those of 2.4 and later.
Checked against Nix's `TunnelLogger`, `processStderrReturn`, `readError` and `writeError`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias, assert_never

from protocol.limits import MAX_FIELDS, MAX_TRACES
from protocol.version import Dialect, Number
from protocol.wire.codec import (
    Codec,
    blob,
    choice,
    list_of,
    literal,
    nothing,
    number,
    preceded_by,
    tagged,
    text,
    u64,
    via,
)
from protocol.wire.layout import layout, on


class Verbosity(IntEnum):
    """How important a message is."""

    ERROR = 0
    WARN = 1
    NOTICE = 2
    """Unknown to Nix 2.3, which is told `INFO`."""
    INFO = 3
    TALKATIVE = 4
    CHATTY = 5
    DEBUG = 6
    VOMIT = 7


class ActivityType(IntEnum):
    """What goes on."""

    UNKNOWN = 0
    COPY_PATH = 100
    """Fields: path, source, destination."""
    FILE_TRANSFER = 101
    """Fields: URI."""
    REALISE = 102
    COPY_PATHS = 103
    BUILDS = 104
    BUILD = 105
    """Fields: derivation, machine (empty: local), round, rounds."""
    OPTIMISE_STORE = 106
    VERIFY_PATHS = 107
    SUBSTITUTE = 108
    """Fields: path, substituter."""
    QUERY_PATH_INFO = 109
    """Fields: path, substituter."""
    POST_BUILD_HOOK = 110
    """Fields: derivation."""
    BUILD_WAITING = 111
    FETCH_TREE = 112
    FETCH_TO_STORE = 113


class ResultType(IntEnum):
    """What an activity came to so far."""

    FILE_LINKED = 100
    """Fields: bytes, blocks."""
    BUILD_LOG_LINE = 101
    """Fields: line."""
    UNTRUSTED_PATH = 102
    CORRUPTED_PATH = 103
    SET_PHASE = 104
    """Fields: phase."""
    PROGRESS = 105
    """Fields: done, expected, running, failed."""
    SET_EXPECTED = 106
    """Fields: activity type, expected."""
    POST_BUILD_LOG_LINE = 107
    FETCH_STATUS = 108
    FETCH_TO_STORE = 109


Field: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class Next:
    """A text to show, mostly with a newline at its end."""

    text: str


@dataclass(frozen=True, slots=True)
class StartActivity:
    """Something begins."""

    id: int
    """Unique per daemon process."""
    level: int
    """A `Verbosity`; other numbers are passed on."""
    type: int
    """An `ActivityType`; other numbers are passed on."""
    text: str
    fields: tuple[Field, ...] = ()
    parent: int = 0
    """An activity, or 0."""


@dataclass(frozen=True, slots=True)
class StopActivity:
    """Something has ended."""

    id: int


@dataclass(frozen=True, slots=True)
class Result:
    """News of an activity."""

    id: int
    type: int
    """A `ResultType`; other numbers are passed on."""
    fields: tuple[Field, ...] = ()


LogMessage: TypeAlias = Next | StartActivity | StopActivity | Result
"""What is said while an operation is under way."""


@dataclass(frozen=True, slots=True)
class NixError:
    """The operation's answer is that it failed."""

    message: str
    """May hold colour codes."""
    level: int = Verbosity.ERROR
    name: str = "Error"
    """A class of Nix 2.4; constant later, and ignored."""
    traces: tuple[str, ...] = ()
    status: int = 1
    """An exit status; known below 1.26 only."""


@dataclass(frozen=True, slots=True)
class Read:
    """The server asks for a piece of the body."""

    size: int


@dataclass(frozen=True, slots=True)
class Write:
    """The server sends a piece of the reply's body ahead of the reply."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Last:
    """The reply follows."""


Message: TypeAlias = LogMessage | NixError | Read | Write | Last
"""All that the server says during an operation."""

_u32: Final = number(0xFFFF_FFFF)
_LEVELS_SHIFTED: Final = Number(1, 21)
_ERRORS_CHANGED: Final = Number(1, 26)
_ACTIVITIES: Final = Number(1, 20)


def _read_level(value: int, dialect: Dialect) -> int:
    return value + 1 if dialect.number <= _LEVELS_SHIFTED and value >= Verbosity.NOTICE else value


def _write_level(value: int, dialect: Dialect) -> int:
    return value - 1 if dialect.number <= _LEVELS_SHIFTED and value > Verbosity.NOTICE else value


level: Final = via(_u32, _read_level, _write_level)
"""A `Verbosity` as the peer counts."""

_fields: Final[Codec[tuple[Field, ...]]] = list_of(
    tagged({0: u64, 1: text}, lambda value: int(isinstance(value, str)), "kind of field"),
    MAX_FIELDS,
)
_zero: Final = literal(u64, 0)

_error_once: Final = layout(NixError, message=on(text), status=on(_u32))
# The zeroes say that no position in a source file follows: none ever does, and readers insist.
_error_now: Final = preceded_by(
    literal(text, "Error"),
    layout(
        NixError,
        level=on(level),
        name=on(text),
        message=on(text),
        traces=on(preceded_by(_zero, list_of(preceded_by(_zero, text), MAX_TRACES))),
    ),
)

_error: Final[Codec[NixError]] = choice(
    lambda dialect: _error_now if dialect.number >= _ERRORS_CHANGED else _error_once
)

LAST: Final = 0x616C7473
ERROR: Final = 0x63787470

_TAGS: Final[dict[type[Any], int]] = {
    Next: 0x6F6C6D67,
    Read: 0x64617461,
    Write: 0x64617416,
    Last: LAST,
    NixError: ERROR,
    StartActivity: 0x53545254,
    StopActivity: 0x53544F50,
    Result: 0x52534C54,
}

message: Final[Codec[Message]] = tagged(
    {
        _TAGS[Next]: layout(Next, text=on(text)),
        _TAGS[Read]: layout(Read, size=on(u64)),
        _TAGS[Write]: layout(Write, data=on(blob())),
        _TAGS[Last]: via(nothing, lambda _, __: Last(), lambda _, __: None),
        _TAGS[NixError]: _error,
        _TAGS[StartActivity]: layout(
            StartActivity,
            id=on(u64),
            level=on(level),
            type=on(_u32),
            text=on(text),
            fields=on(_fields),
            parent=on(u64),
        ),
        _TAGS[StopActivity]: layout(StopActivity, id=on(u64)),
        _TAGS[Result]: layout(Result, id=on(u64), type=on(_u32), fields=on(_fields)),
    },
    lambda value: _TAGS[type(value)],
    "message from the daemon",
)


def encode_log(value: LogMessage, dialect: Dialect) -> bytes:
    """The bytes of a log message; below 1.20, which has no activities, only what can be shown."""
    if dialect.number >= _ACTIVITIES:
        return message.put(value, dialect)
    match value:
        case StartActivity():
            return message.put(Next(f"{value.text}...\n"), dialect) if value.text else b""
        case Next():
            return message.put(value, dialect)
        case StopActivity() | Result():
            return b""
        case _:
            assert_never(value)
