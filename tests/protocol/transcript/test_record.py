from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.transcript.record import (
    MAX_FRAME,
    BadRecording,
    Direction,
    Frame,
    Header,
    Protocol,
    RecordingReader,
    RecordingWriter,
)

HEADER = Header(Protocol.WORKER, "/nix/store", "nix 2.8.0 asks its daemon")


def write(header: Header, frames: list[Frame]) -> bytes:
    writer = RecordingWriter()
    return writer.start(header) + b"".join(
        writer.frame(frame.direction, frame.microseconds, frame.data) for frame in frames
    )


def read(data: bytes, step: int | None = None) -> tuple[Header | None, list[Frame]]:
    reader = RecordingReader()
    step = step or len(data) or 1
    frames = [
        frame for at in range(0, len(data), step) for frame in reader.feed(data[at : at + step])
    ]
    reader.end()
    return reader.header, frames


frames = st.lists(
    st.tuples(st.sampled_from(Direction), st.integers(0, 2**40), st.binary(min_size=1, max_size=99))
).map(
    lambda rows: [
        Frame(direction, time, data)
        for time, (direction, _, data) in zip(sorted(row[1] for row in rows), rows, strict=True)
    ]
)
headers = st.builds(Header, st.sampled_from(Protocol), st.text(), st.text(max_size=200))


@given(headers, frames, st.integers(1, 64))
def test_a_recording_survives_any_chunking(header: Header, said: list[Frame], step: int) -> None:
    assert read(write(header, said), step) == (header, said)


def test_a_long_piece_becomes_several_frames() -> None:
    data = bytes(range(256)) * (MAX_FRAME // 256) + b"rest"
    _, said = read(write(HEADER, [Frame(Direction.TO_CLIENT, 7, data)]))
    assert [len(frame.data) for frame in said] == [MAX_FRAME, 4]
    assert b"".join(frame.data for frame in said) == data


def test_time_does_not_run_backwards() -> None:
    writer = RecordingWriter()
    data = writer.start(HEADER)
    data += writer.frame(Direction.TO_SERVER, 9, b"a") + writer.frame(Direction.TO_SERVER, 3, b"b")
    assert [frame.microseconds for frame in read(data)[1]] == [9, 9]


def test_bytes_that_are_not_utf8_survive_in_the_header() -> None:
    header = Header(Protocol.SERVE, "/nix/\udcff", "\udc80")
    assert read(write(header, []))[0] == header


def test_a_frame_needs_a_header_before_it() -> None:
    with pytest.raises(LocalProtocolError, match="start"):
        RecordingWriter().frame(Direction.TO_SERVER, 0, b"x")


@pytest.mark.parametrize("missing", range(1, 12))
def test_a_recording_that_was_cut_is_noticed(missing: int) -> None:
    data = write(HEADER, [Frame(Direction.TO_SERVER, 1, b"0123456789")])
    with pytest.raises(BadRecording, match="middle of a frame"):
        read(data[:-missing])


def test_an_empty_file_is_no_recording() -> None:
    with pytest.raises(BadRecording, match="empty"):
        read(b"")


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (["other", 1, {}], "does not begin"),
        (["nix-shim recording", 2, {"protocol": "worker"}], "version `2`"),
        (["nix-shim recording", 1, {"protocol": "http"}], "unknown protocol: `http`"),
        (["nix-shim recording", 1, {"protocol": 5}], "`protocol` in the header"),
        (["nix-shim recording", 1, 5], "no fields"),
        (["nix-shim recording", 1], "list of three"),
    ],
)
def test_bad_headers_are_refused(item: list[object], complaint: str) -> None:
    with pytest.raises(BadRecording, match=complaint):
        read(msgpack.packb(item))


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ([2, 0, b"x"], "direction"),
        ([True, 0, b"x"], "direction"),
        ([0, -1, b"x"], "time"),
        ([0, 0.5, b"x"], "time"),
        ([0, 0, b""], "no bytes"),
        ([0, 0, "x"], "no bytes"),
        ({"a": 1}, "list of three"),
    ],
)
def test_bad_frames_are_refused(item: object, complaint: str) -> None:
    with pytest.raises(BadRecording, match=complaint):
        read(write(HEADER, []) + msgpack.packb(item))


def test_a_huge_frame_is_refused_before_it_is_held() -> None:
    announced = b"\x93\x00\x00\xc6" + (2**31).to_bytes(4, "big")
    with pytest.raises(BadRecording):
        read(write(HEADER, []) + announced + bytes(64))


@given(st.binary(max_size=200), st.booleans())
def test_junk_is_refused_in_an_orderly_way(junk: bytes, behind_header: bool) -> None:
    with suppress(RemoteProtocolError):
        read((write(HEADER, []) if behind_header else b"") + junk)
