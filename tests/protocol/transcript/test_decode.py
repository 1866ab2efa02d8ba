"""Recordings of real Nix programs: what they said is understood, and said again byte by byte."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.serve import events as serve
from protocol.serve.messages import REGISTRY as SERVE
from protocol.transcript.decode import Message, messages
from protocol.transcript.record import (
    Direction,
    Header,
    Protocol,
    RecordingReader,
    RecordingWriter,
)
from protocol.version import Number
from protocol.worker import events as worker
from protocol.worker.registry import REGISTRY as WORKER
from tests.support.recorded import RECORDINGS, name_of

BODIES = (
    worker.BodyData
    | worker.BodyEnd
    | worker.ReplyData
    | worker.ReplyEnd
    | serve.BodyData
    | serve.BodyEnd
    | serve.ReplyData
    | serve.ReplyEnd
)
"""Their frames are cut as it pleases whoever sends them."""


def stream(data: bytes, direction: Direction) -> bytes:
    return b"".join(
        frame.data for frame in RecordingReader().feed(data) if frame.direction is direction
    )


def expect_same_bytes(said: list[Message], recorded: bytes) -> None:
    """Everything but the insides of bodies stands in the recording, in order, without gaps."""
    position, in_body = 0, False
    for message in said:
        if isinstance(message.event, BODIES):
            in_body = True
        if (in_body and not message.encoded) or isinstance(message.event, BODIES):
            continue
        found = recorded.find(message.encoded, position)
        assert found == position or (in_body and found > position), message
        position, in_body = found + len(message.encoded), False
    assert position == len(recorded) or in_body


@pytest.mark.parametrize("file", RECORDINGS, ids=name_of)
def test_real_sessions_are_understood_and_said_again(file: Path) -> None:
    data = file.read_bytes()
    said = list(messages([data]))
    for direction in Direction:
        expect_same_bytes(
            [message for message in said if message.direction is direction],
            stream(data, direction),
        )


@pytest.mark.parametrize(
    "file", RECORDINGS[::7], ids=lambda file: f"{file.parent.name}/{file.stem}"
)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_sessions_are_understood_however_they_are_cut(file: Path, size: int) -> None:
    data = file.read_bytes()
    reader, writer = RecordingReader(), RecordingWriter()
    frames = list(reader.feed(data))
    assert reader.header is not None
    cut = writer.start(reader.header) + b"".join(
        writer.frame(frame.direction, frame.microseconds, frame.data[start : start + size])
        for frame in frames
        for start in range(0, len(frame.data), size)
    )
    assert [
        message.event for message in messages([cut]) if not isinstance(message.event, BODIES)
    ] == [message.event for message in messages([data]) if not isinstance(message.event, BODIES)]


def dialects(protocol: Protocol) -> set[Number]:
    found = set()
    for file in RECORDINGS:
        if file.name.startswith(protocol):
            first = next(iter(messages([file.read_bytes()]))).event
            assert isinstance(first, worker.Greeted | serve.Greeted)
            found.add(first.dialect.number)
    return found


def test_recordings_exist_for_the_versions_where_layouts_change() -> None:
    assert dialects(Protocol.WORKER) >= {
        Number(1, minor) for minor in (21, 22, 25, 27, 28, 29, 30, 33, 34, 35, 37, 38)
    }
    assert dialects(Protocol.SERVE) >= {Number(2, minor) for minor in range(1, 8)}


def asked(protocol: Protocol) -> set[str]:
    return {
        message.event.operation.name
        for file in RECORDINGS
        if file.name.startswith(protocol)
        for message in messages([file.read_bytes()])
        if isinstance(message.event, serve.Asked | worker.Asked)
    }


def test_recordings_hold_every_command_of_the_serve_protocol() -> None:
    assert asked(Protocol.SERVE) == set(SERVE.by_name)


def test_recordings_hold_every_operation_that_a_daemon_answers() -> None:
    assert set(WORKER.by_name) - asked(Protocol.WORKER) == {
        "AddPermRoot",  # since 2.20; no client of those releases sends it over a socket by itself
        "AddToStoreScanning",  # inside builds of 2.36 only
        "ClearFailedPaths",  # gone before 2.3
        "QueryFailedPaths",  # the same
        "SubmitOutput",  # inside builds of 2.36 only
    }


def test_time_goes_on() -> None:
    for file in RECORDINGS[:5]:
        times = [message.microseconds for message in messages([file.read_bytes()])]
        assert all(earlier <= later for earlier, later in pairwise(times))


def recording(*said: tuple[Direction, bytes], protocol: Protocol = Protocol.WORKER) -> bytes:
    writer = RecordingWriter()
    return writer.start(Header(protocol)) + b"".join(
        writer.frame(direction, 0, data) for direction, data in said
    )


JUNK = b"greeting" + Number(1, 34).word.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (recording(), "no frames"),
        (recording((Direction.TO_SERVER, b"x")), "before the handshake does"),
        (
            recording((Direction.TO_SERVER, JUNK), (Direction.TO_CLIENT, JUNK)),
            "no client of the worker protocol",
        ),
        (
            recording(
                (Direction.TO_SERVER, JUNK),
                (Direction.TO_CLIENT, JUNK),
                protocol=Protocol.SERVE,
            ),
            "no client of the serve protocol",
        ),
        (recording((Direction.TO_SERVER, bytes(2 << 20))), "no greetings"),
    ],
)
def test_what_is_no_session_is_said_to_be_none(data: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        list(messages([data]))


def test_a_recording_that_was_cut_in_the_middle_of_a_message_says_so() -> None:
    writer, reader = RecordingWriter(), RecordingReader()
    frames = list(reader.feed(RECORDINGS[0].read_bytes()))
    assert reader.header is not None
    last = max(
        index for index, frame in enumerate(frames) if frame.direction is Direction.TO_CLIENT
    )
    data = writer.start(reader.header) + b"".join(
        writer.frame(frame.direction, frame.microseconds, frame.data[: -1 if at == last else None])
        for at, frame in enumerate(frames[: last + 1])
    )
    with pytest.raises(RemoteProtocolError, match="middle"):
        list(messages([data]))


@given(
    file=st.sampled_from(RECORDINGS),
    wounds=st.lists(
        st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6
    ),
    size=st.integers(1, 500),
)
def test_a_damaged_session_is_refused_in_an_orderly_way(
    file: Path, wounds: list[tuple[int, int]], size: int
) -> None:
    reader, writer = RecordingReader(), RecordingWriter()
    frames = list(reader.feed(file.read_bytes()))
    assert reader.header is not None
    damaged = writer.start(reader.header)
    for number, frame in enumerate(frames):
        data = bytearray(frame.data)
        for place, value in wounds:
            if place % len(frames) == number:
                data[place % len(data)] = value
        for start in range(0, len(data), size):
            piece = bytes(data[start : start + size])
            damaged += writer.frame(frame.direction, frame.microseconds, piece)
    with suppress(RemoteProtocolError):
        list(messages([damaged]))
