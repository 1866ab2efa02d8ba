from hypothesis import given
from hypothesis import strategies as st

from protocol.nar.digest import HashingReader
from protocol.nar.events import Event
from protocol.nar.writer import NarWriter
from protocol.store.hash import Hash
from tests.support import strategies


@given(strategies.nar_events, st.integers(1, 64), st.binary(max_size=30))
def test_what_lies_behind_the_nar_is_not_hashed(
    events: list[Event], step: int, behind: bytes
) -> None:
    data = NarWriter().write_all(events)
    reader = HashingReader()
    stream = data + behind
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
        if reader.finished:
            break
    assert reader.hash == Hash.of(data)
    assert reader.offset == len(data)
