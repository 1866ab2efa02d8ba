"""The receive buffer: progress is kept, however bytes arrive."""

import pytest

from protocol.errors import LocalProtocolError
from protocol.version import Dialect, Number
from protocol.wire.codec import blob, list_of, map_of, sequence, set_of, text, u64
from protocol.wire.source import WORD, Source, Underrun

DIALECT = Dialect(Number(1, 38))


def test_a_starved_source_does_not_copy_until_enough_is_there() -> None:
    source = Source()
    source.feed(WORD.pack(1 << 20))
    with pytest.raises(Underrun) as caught:
        blob().get(source, DIALECT)
    assert caught.value.missing == 1 << 20
    for _ in range(15):
        source.feed(bytes(1 << 16))
        assert source.starved
    source.feed(bytes(1 << 16))
    assert not source.starved
    assert blob().get(source, DIALECT) == bytes(1 << 20)


def test_what_has_been_read_is_not_read_again() -> None:
    reads = 0

    def count(source: Source, dialect: Dialect) -> int:
        nonlocal reads
        value = u64.get(source, dialect)
        reads += 1
        return value

    form = list_of(sequence(type(u64)(count, u64.put), u64))
    wire = form.put(tuple((number, number) for number in range(1000)), DIALECT)
    source = Source()
    for at in range(0, len(wire), 3):
        source.feed(wire[at : at + 3])
        if not source.starved:
            try:
                value = form.get(source, DIALECT)
            except Underrun:
                continue
    assert value == tuple((number, number) for number in range(1000))
    assert reads == 1000


def test_composites_find_their_own_state_again() -> None:
    form = map_of(text, sequence(set_of(text), list_of(sequence(u64, set_of(u64)))))
    value = {
        "": (frozenset({"a", ""}), ((1, frozenset({2, 3})),)),
        "longer than eight": (frozenset[str](), ((4, frozenset[int]()), (5, frozenset({6})))),
    }
    wire = form.put(value, DIALECT)
    for size in range(1, len(wire)):
        source = Source()
        found = None
        for at in range(0, len(wire), size):
            source.feed(wire[at : at + size])
            if source.starved:
                continue
            try:
                found = form.get(source, DIALECT)
            except Underrun:
                assert source.inside
        assert found == value


def test_a_value_is_not_left_in_its_middle() -> None:
    source = Source(WORD.pack(2) + WORD.pack(1))
    with pytest.raises(Underrun):
        list_of(u64).get(source, DIALECT)
    with pytest.raises(LocalProtocolError):
        source.begin(10)


def test_peeking_takes_nothing() -> None:
    source = Source(WORD.pack(7))
    assert source.peek() == source.peek() == source.u64() == 7


def test_all_that_is_there_comes_without_a_copy() -> None:
    source = Source()
    data = bytes(1 << 16)
    source.feed(data)
    assert source.take_some() is data
    with pytest.raises(Underrun):
        source.take_some()
