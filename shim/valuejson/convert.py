"""Bytes to JSON and JSON to bytes, for a type of `shim.valuejson.types`.

Where a type has several readings, the first one counts that leaves sense in the bytes behind it: a
reading that leads to nothing is taken back and the next one tried.  No place in the data is read
twice in the same way, so that this stays linear.
"""

from typing import Any

from protocol.errors import ProtocolError, RemoteProtocolError, inside
from protocol.version import Dialect
from protocol.wire.codec import read
from protocol.wire.source import Source
from shim.valuejson.types import Reading, Readings


def to_json(ways: Readings, data: bytes, dialect: Dialect) -> Any:
    """The one value that `data` is.

    Raises:
        RemoteProtocolError: it is none, or there are bytes behind it.
    """
    failures: list[ProtocolError] = []
    for way in ways:
        try:
            value, end = _read(way, data, 0, dialect)
        except RemoteProtocolError as error:
            failures.append(error)
            continue
        if end == len(data):
            return value
        failures.append(
            RemoteProtocolError(f"{len(data) - end} bytes are left over behind the value")
        )
    raise failures[0]


def to_json_list(ways: Readings, data: bytes, dialect: Dialect) -> list[Any]:
    """All the values that `data` consists of.

    Raises:
        RemoteProtocolError: it consists of something else; said of the likeliest reading.
    """
    read_so_far: list[tuple[int, int, Any]] = []
    hopeless: set[int] = set()
    failures: list[ProtocolError] = []
    at = choice = 0
    while at < len(data):
        if choice == len(ways):
            if not read_so_far:
                raise failures[0]
            hopeless.add(at)
            at, choice, _ = read_so_far.pop()
            choice += 1
            continue
        try:
            with inside(f"[{len(read_so_far)}]"):
                value, end = _read(ways[choice], data, at, dialect)
                _check_progress(at, end, len(data))
        except RemoteProtocolError as error:
            failures.append(error)
            choice += 1
            continue
        if end in hopeless:
            choice += 1
            continue
        read_so_far.append((at, choice, value))
        at, choice = end, 0
    return [value for _, _, value in read_so_far]


def from_json(ways: Readings, value: Any, dialect: Dialect) -> bytes:
    """The bytes of one value.

    Raises:
        ProtocolError: the JSON is not of the type's form, or holds what the wire cannot.
    """
    failures: list[ProtocolError] = []
    for way in ways:
        try:
            return way.codec.put(way.form.read(value, dialect.store_dir), dialect)
        except ProtocolError as error:
            failures.append(error)
    raise failures[0]


def from_json_list(ways: Readings, value: Any, dialect: Dialect) -> bytes:
    """The bytes of the values of a JSON list, one after the other.

    Raises:
        ProtocolError: as `from_json`, or it is no list.
    """
    if not isinstance(value, list):
        raise RemoteProtocolError("expected a list of values")
    parts = []
    for index, item in enumerate(value):
        with inside(f"[{index}]"):
            parts.append(from_json(ways, item, dialect))
    return b"".join(parts)


def _read(way: Reading, data: bytes, at: int, dialect: Dialect) -> tuple[Any, int]:
    source = Source(data)
    source.at = at
    value = read(way.codec, source, dialect)
    return way.form.write(value), source.at


def _check_progress(start: int, end: int, size: int) -> None:
    if start == end:
        raise RemoteProtocolError(f"{size - end} bytes are left over: the type has none")
