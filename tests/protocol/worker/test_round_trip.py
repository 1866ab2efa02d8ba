"""Every request, reply and message at every version, however it is cut."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.version import Dialect, Number
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


OLD = st.just(Dialect(Number(1, 20)))
