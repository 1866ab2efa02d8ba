"""Every request, reply and message at every version, however it is cut."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.version import Dialect, Number
from protocol.wire.codec import decode
from protocol.worker import stderr
from protocol.worker.registry import REGISTRY
from tests.support.worker import cut, dialects, messages, read_in_pieces, replies, requests

ROWS = list(REGISTRY.by_code.values())
SIZES = st.lists(st.integers(1, 60), max_size=40)

spoken = st.tuples(st.sampled_from(ROWS), dialects).filter(lambda pair: pair[0].exists(pair[1]))


@given(spoken.flatmap(lambda pair: st.tuples(st.just(pair), requests(*pair))), SIZES)
@settings(max_examples=300)
def test_requests_survive_any_chunking(case: Any, sizes: list[int]) -> None:
    (row, dialect), request = case
    data = row.layout.put(request, dialect)
    assert read_in_pieces(row.layout, cut(data, sizes), dialect) == request


@given(spoken.flatmap(lambda pair: st.tuples(st.just(pair), replies(*pair))), SIZES)
@settings(max_examples=300)
def test_replies_survive_any_chunking(case: Any, sizes: list[int]) -> None:
    (row, dialect), reply = case
    data = row.reply.put(reply, dialect)
    assert read_in_pieces(row.reply, cut(data, sizes), dialect) == reply


@given(dialects.flatmap(lambda dialect: st.tuples(st.just(dialect), messages(dialect))), SIZES)
def test_messages_survive_any_chunking(case: Any, sizes: list[int]) -> None:
    dialect, message = case
    data = stderr.message.put(message, dialect)
    assert read_in_pieces(stderr.message, cut(data, sizes), dialect) == message


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@given(data=st.data())
@settings(max_examples=10)
def test_every_operation_has_generated_values(row: Any, data: st.DataObject) -> None:
    dialect = data.draw(dialects.filter(row.exists) if row.gate.until is None else OLD)
    data.draw(requests(row, dialect))
    data.draw(replies(row, dialect))


@given(spoken, st.binary(max_size=200), st.booleans())
@settings(max_examples=500)
def test_junk_is_a_value_that_comes_back_or_a_protocol_error(
    case: Any, junk: bytes, asked: bool
) -> None:
    row, dialect = case
    form = row.layout if asked else row.reply
    with suppress(RemoteProtocolError):
        value = decode(form, junk, dialect)
        assert decode(form, form.put(value, dialect), dialect) == value


@given(spoken.flatmap(lambda pair: st.tuples(st.just(pair), requests(*pair))), st.data())
@settings(max_examples=300)
def test_damage_is_a_value_that_comes_back_or_a_protocol_error(
    case: Any, data: st.DataObject
) -> None:
    (row, dialect), request = case
    wire = bytearray(row.layout.put(request, dialect))
    if not wire:
        return
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        value = decode(row.layout, bytes(wire), dialect)
        assert decode(row.layout, row.layout.put(value, dialect), dialect) == value


OLD = st.just(Dialect(Number(1, 20)))
