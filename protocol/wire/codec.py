"""Codecs: one value holds both directions of a wire format.  Layouts of records: `wire.layout`.

| codec | wire | Python |
|---|---|---|
| `u64` | 8 bytes, little endian | `int` |
| `i64` | the same, refused from 2^63 on | `int` |
| `boolean` | `u64`; 0 is false, written 0 or 1 | `bool` |
| `number(limit)` | `u64` of a narrower type | `int` |
| `enumeration(E)` | `u64`, only the members | `E` |
| `obsolete(n)` | `u64`, written `n`, read and ignored | `None` |
| `blob()` | `u64` length, bytes, zeroes up to a multiple of 8 | `bytes` |
| `text` | a blob | `str`, UTF-8 with `surrogateescape`: any bytes survive |
| `list_of(c)` | `u64` count, items | `tuple` |
| `set_of(c)` | the same, ascending when written, any order when read | `frozenset` |
| `map_of(k, v)` | `u64` count, key, value, ...; ascending by key | `Mapping` |
| `optional(c)` | `u64` 0, or `u64` 1 and the item | value or `None` |
| `tagged(...)` | `u64` tag, then what belongs to the tag | union |
| `sequence(a, b)` | one after the other | `tuple` |
| `via(c, f, g)` | as `c` | what `f` makes of it |

Checked against Nix's `Source`/`Sink` operators in `serialise.cc` and `LengthPrefixedProtoHelper`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar

from protocol.errors import LimitExceeded, LocalProtocolError, ProtocolError, RemoteProtocolError
from protocol.limits import MAX_ITEMS, MAX_TEXT
from protocol.version import Dialect
from protocol.wire.source import WORD, Source, Underrun

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")
E = TypeVar("E", bound=IntEnum)

_unpack: Final = WORD.unpack_from
_pack: Final = WORD.pack
_PADDING: Final = tuple(bytes(count) for count in range(8))


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Both directions of one format.

    `get` raises `Underrun` when the source is too short, to be called again, and
    `RemoteProtocolError` when the bytes break a rule.  `put` raises `LocalProtocolError` for a
    value that the format cannot hold.
    """

    get: Callable[[Source, Dialect], T]
    put: Callable[[T, Dialect], bytes]


def _u64_get(source: Source, _: Dialect) -> int:
    return source.u64()


def _u64_put(value: int, _: Dialect) -> bytes:
    if not 0 <= value < 1 << 64:
        raise LocalProtocolError(f"a number of 64 bits without sign cannot be {value}")
    return _pack(value)


u64: Final = Codec(_u64_get, _u64_put)


def number(limit: int) -> Codec[int]:
    """A number that its reader keeps in a narrower type, or refuses: at most `limit`."""

    def get(source: Source, _: Dialect) -> int:
        value = source.u64()
        if value > limit:
            raise RemoteProtocolError(f"a number of at most {limit} is expected, not {value}")
        return value

    def put(value: int, dialect: Dialect) -> bytes:
        if value > limit:
            raise LocalProtocolError(f"a number of at most {limit} is expected, not {value}")
        return _u64_put(value, dialect)

    return Codec(get, put)


i64: Final = number((1 << 63) - 1)
"""Times and durations.  Nix's readers of signed types refuse what would be negative."""


def _boolean_get(source: Source, _: Dialect) -> bool:
    return source.u64() != 0


def _boolean_put(value: bool, _: Dialect) -> bytes:
    return _pack(1 if value else 0)


boolean: Final = Codec(_boolean_get, _boolean_put)


def via(
    inner: Codec[T], read: Callable[[T, Dialect], U], write: Callable[[U, Dialect], T]
) -> Codec[U]:
    """The format of `inner` for another type; `read` raises `RemoteProtocolError`."""

    def get(source: Source, dialect: Dialect) -> U:
        return read(inner.get(source, dialect), dialect)

    def put(value: U, dialect: Dialect) -> bytes:
        return inner.put(write(value, dialect), dialect)

    return Codec(get, put)


def enumeration(kind: type[E]) -> Codec[E]:
    """A number that stands for one of the members."""
    members = {int(member): member for member in kind}

    def read(value: int, _: Dialect) -> E:
        try:
            return members[value]
        except KeyError:
            raise RemoteProtocolError(f"no {kind.__name__} has the number {value}") from None

    return via(u64, read, lambda value, _: int(value))


def obsolete(value: int = 0) -> Codec[None]:
    """A number nobody uses any more: written as `value`, read and ignored."""
    return via(u64, lambda _, __: None, lambda _, __: value)


def literal(inner: Codec[T], value: T) -> Codec[None]:
    """Always `value`; anything else is refused."""

    def check(found: T, _: Dialect) -> None:
        if found != value:
            raise RemoteProtocolError(f"expected `{value}`, found `{found}`")

    return via(inner, check, lambda _, __: value)


def blob(limit: int = MAX_TEXT) -> Codec[bytes]:
    """Length, bytes, zeroes up to the next multiple of eight."""

    def get(source: Source, _: Dialect) -> bytes:
        data, at = source.data, source.at
        start = at + 8
        if start > len(data):
            source.lack(start - len(data))
        (size,) = _unpack(data, at)
        if size > limit:
            raise LimitExceeded(f"a string of {size} bytes, at most {limit} are accepted")
        end = start + size
        stop = end + (-size & 7)
        if stop > len(data):
            source.lack(stop - len(data))
        if data[end:stop] != _PADDING[stop - end]:
            raise RemoteProtocolError("the padding of a string is not zero")
        source.at = stop
        return data[start:end]

    def put(value: bytes, _: Dialect) -> bytes:
        size = len(value)
        return b"".join((_pack(size), value, _PADDING[-size & 7]))

    return Codec(get, put)


def to_text(data: bytes) -> str:
    """Bytes as we hold texts: lossless whatever they are."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The inverse of `to_text`.

    Raises:
        LocalProtocolError: a surrogate that `to_text` does not make.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"not a text that has bytes: {error}") from None


def text_up_to(limit: int) -> Codec[str]:
    """A text of at most `limit` bytes."""
    get_bytes, put_bytes = (inner := blob(limit)).get, inner.put

    def get(source: Source, dialect: Dialect) -> str:
        return get_bytes(source, dialect).decode("utf-8", "surrogateescape")

    def put(value: str, dialect: Dialect) -> bytes:
        return put_bytes(to_bytes(value), dialect)

    return Codec(get, put)


text: Final = text_up_to(MAX_TEXT)


def _getter(item: Codec[T], limit: int) -> Callable[[Source, Dialect], list[T]]:
    get_item = item.get

    def get(source: Source, dialect: Dialect) -> list[T]:
        items: list[T]
        state = source.resume()
        if state is None:
            items, count = [], source.u64()
            if count > limit:
                raise LimitExceeded(f"{count} items announced, at most {limit} are accepted")
        else:
            items, count = state
        append = items.append
        try:
            for _ in range(count - len(items)):
                append(get_item(source, dialect))
        except Underrun as underrun:
            source.save((items, count))
            underrun.path = (f"[{len(items)}]", *underrun.path)
            raise
        except ProtocolError as error:
            error.path = (f"[{len(items)}]", *error.path)
            raise
        return items

    return get


def list_of(item: Codec[T], limit: int = MAX_ITEMS) -> Codec[tuple[T, ...]]:
    """Count, items."""
    get_items = _getter(item, limit)

    def get(source: Source, dialect: Dialect) -> tuple[T, ...]:
        return tuple(get_items(source, dialect))

    def put(values: tuple[T, ...], dialect: Dialect) -> bytes:
        put_item = item.put
        return b"".join((_pack(len(values)), *[put_item(value, dialect) for value in values]))

    return Codec(get, put)


def _ascending(value: Any) -> Any:
    return to_bytes(value) if isinstance(value, str) else value


def set_of(
    item: Codec[T], limit: int = MAX_ITEMS, order: Callable[[T], Any] = _ascending
) -> Codec[frozenset[T]]:
    """Count, items; ascending by `order` (bytes of texts) when written."""
    get_items = _getter(item, limit)
    empty: frozenset[T] = frozenset()

    def get(source: Source, dialect: Dialect) -> frozenset[T]:
        # Python makes every empty set anew, of 216 bytes where the wire has 8.
        return frozenset(items) if (items := get_items(source, dialect)) else empty

    def put(values: frozenset[T], dialect: Dialect) -> bytes:
        put_item = item.put
        items = [put_item(value, dialect) for value in sorted(values, key=order)]
        return b"".join((_pack(len(values)), *items))

    return Codec(get, put)


def map_of(key: Codec[K], value: Codec[V], limit: int = MAX_ITEMS) -> Codec[Mapping[K, V]]:
    """Count, then keys and values alternately; ascending by the bytes of the keys when written.

    Of a key that comes twice the later value counts.
    """
    get_pairs = _getter(sequence(key, value), limit)

    def get(source: Source, dialect: Dialect) -> Mapping[K, V]:
        return dict(get_pairs(source, dialect))

    def put(values: Mapping[K, V], dialect: Dialect) -> bytes:
        parts = [_pack(len(values))]
        for name in sorted(values, key=_ascending):
            parts.append(key.put(name, dialect))
            parts.append(value.put(values[name], dialect))
        return b"".join(parts)

    return Codec(get, put)


def sequence(first: Codec[T], second: Codec[U]) -> Codec[tuple[T, U]]:
    """Two values, one after the other."""

    def get(source: Source, dialect: Dialect) -> tuple[T, U]:
        heads: list[T] = source.resume() or []
        try:
            if not heads:
                heads.append(first.get(source, dialect))
            return heads[0], second.get(source, dialect)
        except Underrun:
            source.save(heads)
            raise

    def put(value: tuple[T, U], dialect: Dialect) -> bytes:
        return first.put(value[0], dialect) + second.put(value[1], dialect)

    return Codec(get, put)


def followed_by(codec: Codec[T], rest: Codec[None]) -> Codec[T]:
    """A value, and behind it bytes that mean nothing any more."""
    return via(sequence(codec, rest), lambda pair, _: pair[0], lambda value, _: (value, None))


def preceded_by(first: Codec[None], codec: Codec[T]) -> Codec[T]:
    """Bytes that mean nothing any more, and behind them a value."""
    return via(sequence(first, codec), lambda pair, _: pair[1], lambda value, _: (None, value))


def tagged(
    cases: Mapping[int, Codec[Any]], tag_of: Callable[[T], int], what: str = "tag"
) -> Codec[T]:
    """A number, and behind it what the number stands for.

    Args:
        cases: the codec behind each number.
        tag_of: the number of a value.
        what: the number's meaning, for messages.
    """

    def get(source: Source, dialect: Dialect) -> T:
        state = source.resume()
        tag = source.u64() if state is None else state[0]
        case = cases.get(tag)
        if case is None:
            raise RemoteProtocolError(f"unknown {what}: {tag:#x}")
        try:
            value: T = case.get(source, dialect)
        except Underrun:
            source.save((tag,))
            raise
        return value

    def put(value: T, dialect: Dialect) -> bytes:
        tag = tag_of(value)
        return _pack(tag) + cases[tag].put(value, dialect)

    return Codec(get, put)


def constant(value: T) -> Codec[T]:
    """No bytes at all: always `value`."""
    return Codec(lambda _, __: value, lambda _, __: b"")


nothing: Final[Codec[None]] = constant(None)


def optional(item: Codec[T]) -> Codec[T | None]:
    """`0`, or `1` and the item; any other number is refused."""
    return tagged({0: nothing, 1: item}, lambda value: int(value is not None), "optional tag")


def only(kind: type[Any], codec: Codec[T]) -> Codec[T]:
    """The same format, for values of one type of those that a field can have."""

    def check(value: T, dialect: Dialect) -> T:
        if not isinstance(value, kind):
            raise LocalProtocolError(
                f"{dialect} has no form for a {type(value).__name__}, only for a {kind.__name__}"
            )
        return value

    return via(codec, lambda value, _: value, check)


def choice(pick: Callable[[Dialect], Codec[Any]]) -> Codec[Any]:
    """A format that depends on the dialect; `wire.layout` has gates for single fields."""

    def get(source: Source, dialect: Dialect) -> Any:
        return pick(dialect).get(source, dialect)

    def put(value: Any, dialect: Dialect) -> bytes:
        return pick(dialect).put(value, dialect)

    return Codec(get, put)


def read(codec: Codec[T], source: Source, dialect: Dialect) -> T:
    """Read a value from a source that nothing will be added to.

    Raises:
        RemoteProtocolError: it ends too early, or breaks a rule.
    """
    try:
        return codec.get(source, dialect)
    except Underrun as underrun:
        error = RemoteProtocolError(f"ends too early: {underrun}")
        error.path = underrun.path
        raise error from None


def decode(codec: Codec[T], data: bytes, dialect: Dialect) -> T:
    """Read one value that is all of `data`.

    Raises:
        RemoteProtocolError: it is shorter or longer, or breaks a rule.
    """
    source = Source(data)
    value = read(codec, source, dialect)
    if left := len(source):
        raise RemoteProtocolError(f"{left} bytes are left over behind the value")
    return value


def decode_many(codec: Codec[T], data: bytes, dialect: Dialect) -> list[T]:
    """Read values until `data` ends.

    Raises:
        RemoteProtocolError: as `decode`; also when the type has no bytes at all.
    """
    source = Source(data)
    values = []
    while left := len(source):
        values.append(read(codec, source, dialect))
        if len(source) == left:
            raise RemoteProtocolError(f"{left} bytes are left over: values of this type have none")
    return values
