"""Bodies of any length: where they end, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.limits import MAX_FRAME
from protocol.wire.bodies import (
    END_FRAME,
    EXPORT_MAGIC,
    Body,
    ExportBody,
    FramedBody,
    NarBody,
    frame,
)
from protocol.wire.source import WORD, Source, Underrun
from protocol.worker.forms import FlatBody, flat_nar
from tests.support.worker import cut

SIZES = st.lists(st.integers(1, 40), max_size=60)
BEHIND = b"what comes behind"
NAR = flat_nar(b"some contents")


def padded(data: bytes) -> bytes:
    return WORD.pack(len(data)) + data + bytes(-len(data) % 8)


PATH = padded(b"/nix/store/00000000000000000000000000000000-foo")
ITEM = WORD.pack(1) + NAR + WORD.pack(EXPORT_MAGIC) + PATH + WORD.pack(1) + PATH + bytes(16)


def through(body: Body, data: bytes, sizes: list[int]) -> bytes:
    """The payload of a body that arrives in pieces; what lies behind it has to stay."""
    source = Source()
    payload = []
    for piece in cut(data + BEHIND, sizes):
        source.feed(piece)
        while not body.finished:
            try:
                payload.append(body.read(source))
            except Underrun:
                break
    assert body.finished
    assert source.take_some() == BEHIND
    return b"".join(payload)


@given(st.lists(st.binary(min_size=1, max_size=50)), SIZES)
def test_frames(pieces: list[bytes], sizes: list[int]) -> None:
    data = b"".join(map(frame, pieces)) + END_FRAME
    assert through(FramedBody(), data, sizes) == b"".join(pieces)


@given(SIZES)
def test_nars(sizes: list[int]) -> None:
    assert through(NarBody(), NAR, sizes) == NAR


@given(SIZES)
def test_files_in_nars(sizes: list[int]) -> None:
    assert through(FlatBody(), NAR, sizes) == b"some contents"


@given(st.integers(0, 3), SIZES)
def test_exports(items: int, sizes: list[int]) -> None:
    stream = ITEM * items + bytes(8)
    assert through(ExportBody(), stream, sizes) == stream


def test_frames_that_lie_together_come_as_one_piece() -> None:
    source = Source(frame(b"ab") + frame(b"cd") + frame(b"ef")[:9])
    assert FramedBody().read(source) == b"abcde"


def test_no_frame_holds_nothing() -> None:
    assert frame(b"") == b""


@pytest.mark.parametrize(
    ("body", "data", "complaint"),
    [
        (FramedBody(), WORD.pack(MAX_FRAME + 1), "frame"),
        (NarBody(), WORD.pack(13) + b"not-a-nar-at-all", "bad NAR"),
        (ExportBody(), WORD.pack(2), "neither"),
        (ExportBody(), ITEM.replace(b"NIXE", b"EXIN"), "magic"),
    ],
)
def test_broken_bodies(body: Body, data: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        through(body, data, [])
