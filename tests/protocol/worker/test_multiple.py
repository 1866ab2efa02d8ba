"""The body of `AddMultipleToStore`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.worker import multiple
from protocol.worker.forms import flat_nar
from protocol.worker.multiple import Count, Item, MultipleReader, NarData, NarEnd
from tests.support.worker import cut


def path(number: int) -> StorePath:
    return StorePath.parse(f"/nix/store/{number:032d}-foo")


def body(contents: list[bytes], *, wrong: int = 0) -> bytes:
    parts = [multiple.count(len(contents))]
    for number, data in enumerate(contents):
        nar = flat_nar(data)
        info = PathInfo(nar_hash=Hash.of(nar), nar_size=len(nar) + wrong)
        parts += [multiple.info(path(number), info), nar]
    return b"".join(parts)


@given(st.lists(st.binary(max_size=50), max_size=4), st.lists(st.integers(1, 200), max_size=60))
def test_paths_and_nars_come_out(contents: list[bytes], sizes: list[int]) -> None:
    reader = MultipleReader()
    events = [event for piece in cut(body(contents), sizes) for event in reader.feed(piece)]
    reader.end()
    assert events[0] == Count(len(contents))
    assert [event.path for event in events if isinstance(event, Item)] == [
        path(number) for number in range(len(contents))
    ]
    nars = b"".join(event.data for event in events if isinstance(event, NarData))
    assert nars == b"".join(map(flat_nar, contents))
    assert events.count(NarEnd()) == len(contents)


@pytest.mark.parametrize("wrong", [-8, 8])
def test_a_wrong_size_is_refused(wrong: int) -> None:
    with pytest.raises(RemoteProtocolError, match="announced"):
        MultipleReader().feed(body([b"one", b"two"], wrong=wrong))


def test_too_much_and_too_little_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="left over"):
        MultipleReader().feed(body([b"one"]) + b"x")
    reader = MultipleReader()
    reader.feed(body([b"one"])[:-1])
    with pytest.raises(RemoteProtocolError, match="ends before"):
        reader.end()


def test_a_count_is_limited() -> None:
    with pytest.raises(RemoteProtocolError, match="at most"):
        MultipleReader().feed(multiple.count(1 << 40))
