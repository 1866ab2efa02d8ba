"""Records: which fields, in which order, from which version on.

A message declares its fields itself and keeps nothing but them:

    @dataclass(frozen=True, slots=True)
    class QueryValidPaths(...):
        paths: frozenset[StorePath] = wire(path_set)
        substitute: bool = wire(boolean, since=Number(1, 27), default=False)

    codec = record(QueryValidPaths)

A value of `protocol.store` knows no wire; each protocol lays it out on its own:

    build_result = layout(BuildResult, status=on(...), error_message=on(text), ...)

Either way the order of the declaration is the order on the wire.  A field that a gate keeps off the
wire keeps its default when read, and is not asked when written.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from protocol.errors import LocalProtocolError, ProtocolError
from protocol.version import Dialect, Number
from protocol.wire.codec import Codec
from protocol.wire.source import Source, Underrun

T = TypeVar("T")

_KEY: Final = "wire"


@dataclass(frozen=True, slots=True)
class On:
    """A field on the wire: its format and its gates."""

    codec: Codec[Any]
    since: Number | None = None
    until: Number | None = None
    """The last version that has it."""
    needs: str | None = None
    """A feature that it exists with only."""
    unless: str | None = None
    """A feature that it does not exist with."""

    def present(self, dialect: Dialect) -> bool:
        """Whether the field is on the wire."""
        return (
            (self.since is None or dialect.number >= self.since)
            and (self.until is None or dialect.number <= self.until)
            and (self.needs is None or self.needs in dialect.features)
            and (self.unless is None or self.unless not in dialect.features)
        )


on = On


def wire(
    codec: Codec[Any],
    *,
    since: Number | None = None,
    until: Number | None = None,
    needs: str | None = None,
    unless: str | None = None,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
) -> Any:
    """Declare a field of a message; see `On`."""
    placed = On(codec, since, until, needs, unless)
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(metadata={_KEY: placed}, default_factory=default_factory)
    return dataclasses.field(metadata={_KEY: placed}, default=default)


def record(kind: type[T]) -> Codec[T]:
    """The codec of a dataclass whose fields are declared by `wire`."""
    assert dataclasses.is_dataclass(kind)
    return _codec(kind, {field.name: field.metadata[_KEY] for field in dataclasses.fields(kind)})


def layout(kind: type[T], **fields: On) -> Codec[T]:
    """The codec of any class that is made by keyword arguments."""
    return _codec(kind, fields)


def _codec(kind: type[T], fields: Mapping[str, On]) -> Codec[T]:
    known: dict[Dialect, tuple[tuple[str, Codec[Any]], ...]] = {}

    def present(dialect: Dialect) -> tuple[tuple[str, Codec[Any]], ...]:
        placed = known.get(dialect)
        if placed is None:
            placed = tuple((name, on.codec) for name, on in fields.items() if on.present(dialect))
            known[dialect] = placed
        return placed

    def get(source: Source, dialect: Dialect) -> T:
        placed = present(dialect)
        values: dict[str, Any] = source.resume() or {}
        name = ""
        try:
            for name, codec in placed[len(values) :] if values else placed:
                values[name] = codec.get(source, dialect)
        except Underrun as underrun:
            source.save(values)
            underrun.path = (name, *underrun.path)
            raise
        except ProtocolError as error:
            error.path = (name, *error.path)
            raise
        return kind(**values)

    def put(value: T, dialect: Dialect) -> bytes:
        name = ""
        parts = []
        try:
            for name, codec in present(dialect):
                parts.append(codec.put(getattr(value, name), dialect))
        except LocalProtocolError as error:
            error.path = (name, *error.path)
            raise
        return b"".join(parts)

    return Codec(get, put)
