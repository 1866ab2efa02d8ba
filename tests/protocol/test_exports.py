"""Export streams: what goes in comes out, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import exports
from protocol.errors import RemoteProtocolError
from protocol.exports import BEGIN, END, End, ExportReader, Item, NarData
from protocol.store.path import StorePath
from protocol.wire.source import WORD
from protocol.worker.forms import flat_nar
from tests.support.worker import cut


def path(number: int) -> StorePath:
    return StorePath.parse(f"/nix/store/{number:032d}-foo")


def item(number: int) -> Item:
    others = frozenset(map(path, range(number)))
    return Item(path(number), others, path(99) if number % 2 else None)


def stream(contents: list[bytes]) -> bytes:
    parts = [
        BEGIN + flat_nar(data) + exports.trailer(item(number))
        for number, data in enumerate(contents)
    ]
    return b"".join([*parts, END])


@given(st.lists(st.binary(max_size=50), max_size=4), st.lists(st.integers(1, 200), max_size=60))
def test_paths_come_behind_their_nars(contents: list[bytes], sizes: list[int]) -> None:
    reader = ExportReader()
    events = [event for piece in cut(stream(contents), sizes) for event in reader.feed(piece)]
    reader.end()
    nars, found = [b""], []
    for event in events:
        match event:
            case NarData(data):
                nars[-1] += data
            case Item():
                found.append(event)
                nars.append(b"")
            case End():
                nars.pop()
    assert nars == [flat_nar(data) for data in contents]
    assert found == [item(number) for number in range(len(contents))]


def test_an_obsolete_signature_is_skipped() -> None:
    signed = exports.trailer(item(0))[:-8] + WORD.pack(1) + WORD.pack(3) + b"sig" + bytes(5)
    reader = ExportReader()
    assert reader.feed(BEGIN + flat_nar(b"x") + signed + END)[1:] == [item(0), End()]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (WORD.pack(2), "neither"),
        (END + b"x", "left over"),
        (BEGIN + flat_nar(b"x") + bytes(64), "1163413838"),
        (BEGIN + WORD.pack(4) + b"what" + bytes(4), "bad NAR"),
    ],
)
def test_broken_streams_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        ExportReader().feed(data)


def test_a_stream_that_stops_is_refused() -> None:
    reader = ExportReader()
    reader.feed(stream([b"one"])[:-8])
    with pytest.raises(RemoteProtocolError, match="ends before"):
        reader.end()
