"""The primitives and combinators, byte by byte."""

from enum import IntEnum
from typing import Any

import pytest

from protocol.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from protocol.version import Dialect, Number
from protocol.wire import codec
from protocol.wire.codec import Codec, decode, decode_many
from protocol.wire.source import Source

DIALECT = Dialect(Number(1, 38))


class Colour(IntEnum):
    RED = 0
    BLUE = 2


def word(number: int) -> str:
    return number.to_bytes(8, "little").hex()


ABC = word(3) + "6162630000000000"

# codec, value, bytes: the table is read in both directions.
TABLE: list[tuple[Codec[Any], Any, str]] = [
    (codec.u64, 0, word(0)),
    (codec.u64, 2**64 - 1, "ff" * 8),
    (codec.i64, 2**63 - 1, "ff" * 7 + "7f"),
    (codec.number(255), 255, word(255)),
    (codec.boolean, False, word(0)),
    (codec.boolean, True, word(1)),
    (codec.enumeration(Colour), Colour.BLUE, word(2)),
    (codec.blob(), b"", word(0)),
    (codec.blob(), b"abc", ABC),
    (codec.blob(), b"12345678", word(8) + "3132333435363738"),
    (codec.text, "abc", ABC),
    (codec.text, "\udcff\0", word(2) + "ff00000000000000"),
    (codec.list_of(codec.u64), (), word(0)),
    (codec.list_of(codec.u64), (3, 1), word(2) + word(3) + word(1)),
    (codec.set_of(codec.u64), frozenset({3, 1}), word(2) + word(1) + word(3)),
    (codec.map_of(codec.text, codec.u64), {"abc": 1}, word(1) + ABC + word(1)),
    (codec.optional(codec.u64), None, word(0)),
    (codec.optional(codec.u64), 7, word(1) + word(7)),
    (codec.sequence(codec.u64, codec.text), (7, "abc"), word(7) + ABC),
    (codec.followed_by(codec.text, codec.obsolete(1)), "abc", ABC + word(1)),
    (codec.preceded_by(codec.literal(codec.u64, 4), codec.text), "abc", word(4) + ABC),
    (codec.constant("always"), "always", ""),
]


@pytest.mark.parametrize(("form", "value", "wire"), TABLE)
def test_both_directions(form: Codec[Any], value: Any, wire: str) -> None:
    assert form.put(value, DIALECT).hex() == wire
    assert decode(form, bytes.fromhex(wire), DIALECT) == value


# codec, bytes, part of the complaint
REFUSED: list[tuple[Codec[Any], str, str]] = [
    (codec.i64, "ff" * 8, "at most 9223372036854775807"),
    (codec.number(255), word(256), "at most 255"),
    (codec.enumeration(Colour), word(1), "no Colour has the number 1"),
    (codec.blob(), word(3) + "6162630000000001", "padding"),
    (codec.blob(2), ABC, "at most 2"),
    (codec.blob(), "ff" * 8, "at most"),
    (codec.list_of(codec.u64, 1), word(2) + word(0) * 2, "at most 1"),
    (codec.list_of(codec.u64), "ff" * 8, "at most"),
    (codec.optional(codec.u64), word(2), "unknown optional tag: 0x2"),
    (codec.literal(codec.u64, 4), word(5), "expected `4`, found `5`"),
    (codec.u64, word(1) + "00", "1 bytes are left over"),
    (codec.u64, "00", "ends too early"),
    (codec.list_of(codec.text), word(2) + ABC + word(9), r"^\[1\]: ends too early"),
    (codec.list_of(codec.i64), word(2) + word(0) + "ff" * 8, r"^\[1\]: a number"),
]


@pytest.mark.parametrize(("form", "wire", "complaint"), REFUSED)
def test_broken_rules(form: Codec[Any], wire: str, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode(form, bytes.fromhex(wire), DIALECT)


UNSPEAKABLE: list[tuple[Codec[Any], Any]] = [
    (codec.u64, -1),
    (codec.u64, 2**64),
    (codec.i64, 2**63),
    (codec.number(5), 6),
    (codec.text, "\ud800"),
    (codec.set_of(codec.text), frozenset({"\ud800"})),
]


@pytest.mark.parametrize(("form", "value"), UNSPEAKABLE)
def test_values_without_bytes_are_our_fault(form: Codec[Any], value: Any) -> None:
    with pytest.raises(LocalProtocolError):
        form.put(value, DIALECT)


def test_any_number_but_zero_is_true() -> None:
    assert decode(codec.boolean, bytes.fromhex(word(17)), DIALECT) is True


def test_obsolete_numbers_are_not_looked_at() -> None:
    assert decode(codec.obsolete(1), bytes.fromhex(word(17)), DIALECT) is None


def test_sets_are_read_in_any_order() -> None:
    wire = bytes.fromhex(word(3) + word(9) + word(1) + word(9))
    assert decode(codec.set_of(codec.u64), wire, DIALECT) == {1, 9}


def test_texts_ascend_by_bytes_not_by_characters() -> None:
    # As characters a lone byte (a low surrogate here) comes before U+FFFD; as bytes behind it.
    form = codec.set_of(codec.text)
    lone, other = codec.to_text(b"\xff"), "\ufffd"
    assert lone < other
    wire = form.put(frozenset({lone, other}), DIALECT)
    assert wire.index(b"\xef\xbf\xbd") < wire.index(b"\xff\0")


def test_values_one_after_the_other() -> None:
    assert decode_many(codec.text, bytes.fromhex(ABC * 2), DIALECT) == ["abc", "abc"]
    with pytest.raises(RemoteProtocolError, match="left over"):
        decode_many(codec.nothing, b"x", DIALECT)


def test_a_value_is_limited_as_a_whole() -> None:
    source = Source()
    source.begin(90)
    form = codec.list_of(codec.text)
    source.feed(bytes.fromhex(word(50) + ABC * 5))
    with pytest.raises(LimitExceeded, match=r"^\[5\]: .*at most 90"):
        form.get(source, DIALECT)


def test_nothing_that_is_announced_is_awaited_beyond_the_limit() -> None:
    source = Source()
    source.begin(100)
    source.feed(bytes.fromhex(word(1000)))
    with pytest.raises(LimitExceeded):
        codec.blob().get(source, DIALECT)
