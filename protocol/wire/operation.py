"""One row per operation: number, versions, request, reply, bodies.  Moves no bytes itself.

    @operation(36, reply=build_result, since=Number(1, 14))
    class BuildDerivation(Request[BuildResult]):
        path: StorePath = wire(store_path)
        ...

The decorator makes the class a frozen dataclass whose fields are the request's layout, and hangs
the row on it as `operation`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, TypeVar, dataclass_transform

from protocol.errors import ProtocolError, UnknownOperation
from protocol.version import Dialect, Number
from protocol.wire.codec import Codec
from protocol.wire.layout import On, record, wire
from protocol.wire.source import Source, Underrun

R_co = TypeVar("R_co", covariant=True)
Q = TypeVar("Q", bound="Request[Any]")


class Body(Enum):
    """What comes behind a request or a reply, without any length before it."""

    NONE = auto()
    NAR = auto()
    """One NAR."""
    CONTENTS = auto()
    """One NAR, or the bytes of one file where the request says that they are hashed "flat"."""
    STREAM = auto()
    """Bytes without a structure of their own: logs, or several values one after the other."""
    EXPORT = auto()
    """An export stream, as `nix-store --export` writes it."""


class Request(Generic[R_co]):
    """A request whose reply is an `R_co`."""

    __slots__ = ()

    operation: ClassVar["Operation"]


@dataclass(frozen=True, slots=True)
class Operation:
    """All that is known about an operation."""

    code: int
    name: str
    request: type[Request[Any]]
    layout: Codec[Any]
    """Of the request, behind the number."""
    reply: Codec[Any]
    body: Body
    """Behind the request."""
    reply_body: Body
    """Behind the reply."""
    gate: On
    """From when to when it exists."""

    def exists(self, dialect: Dialect) -> bool:
        """Whether peers of that dialect know it."""
        return self.gate.present(dialect)

    def read_request(self, source: Source, dialect: Dialect) -> Request[Any]:
        """Read what is behind the number; the operation's name begins the path of errors.

        Raises:
            Underrun, RemoteProtocolError: as codecs do.
        """
        try:
            request: Request[Any] = self.layout.get(source, dialect)
        except (Underrun, ProtocolError) as error:
            error.path = (self.name, *error.path)
            raise
        return request

    def read_reply(self, source: Source, dialect: Dialect) -> Any:
        """Read a reply; errors as `read_request`."""
        try:
            return self.reply.get(source, dialect)
        except (Underrun, ProtocolError) as error:
            error.path = (self.name, "reply", *error.path)
            raise


@dataclass_transform(frozen_default=True, field_specifiers=(wire,))
def operation(
    code: int,
    *,
    reply: Codec[Any],
    body: Body = Body.NONE,
    reply_body: Body = Body.NONE,
    since: Number | None = None,
    until: Number | None = None,
    needs: str | None = None,
    mend: Callable[[Codec[Any]], Codec[Any]] | None = None,
) -> Callable[[type[Q]], type[Q]]:
    """Declare a request's row.

    Args:
        code: the number on the wire.
        reply: the layout of the reply, without the reply's body.
        body: what follows the request.
        reply_body: what follows the reply.
        since: the first version that has it, where that is later than the oldest one spoken.
        until: the last version that has it.
        needs: a feature it exists with only.
        mend: wraps the layout where an older one leaves something to be concluded or refused.
    """

    def declare(cls: type[Q]) -> type[Q]:
        kind = dataclass(frozen=True, slots=True)(cls)
        layout = record(kind)
        if mend is not None:
            layout = mend(layout)
        gate = On(layout, since, until, needs)
        kind.operation = Operation(code, cls.__name__, kind, layout, reply, body, reply_body, gate)
        return kind

    return declare


class Registry:
    """All operations of a protocol, by number and by name."""

    def __init__(self, requests: Iterable[type[Request[Any]]]) -> None:
        rows = [request.operation for request in requests]
        self.by_code: Final[Mapping[int, Operation]] = MappingProxyType(
            {row.code: row for row in rows}
        )
        self.by_name: Final[Mapping[str, Operation]] = MappingProxyType(
            {row.name: row for row in rows}
        )
        assert len(self.by_code) == len(self.by_name) == len(rows)

    def find(self, code: int, dialect: Dialect) -> Operation:
        """The operation of that number.

        Raises:
            UnknownOperation: there is none in that dialect.
        """
        row = self.by_code.get(code)
        if row is None:
            raise UnknownOperation(f"invalid operation {code}")
        if not row.exists(dialect):
            raise UnknownOperation(f"invalid operation {code}: {dialect} has no {row.name}")
        return row
