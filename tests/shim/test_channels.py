import pytest
from hypothesis import given
from hypothesis.strategies import binary, integers, lists, sampled_from, tuples

from shim.channels import HEADER, LIMIT, BadFrame, Channel, Frames, exit_frame, frame

streams = lists(tuples(sampled_from([Channel.STDOUT, Channel.STDERR]), binary(max_size=40)))


@given(streams, integers(0, 255), integers(1, 30))
def test_every_stream_arrives_whole_however_it_is_cut(
    said: list[tuple[Channel, bytes]], code: int, size: int
) -> None:
    data = b"".join(frame(channel, text) for channel, text in said) + exit_frame(code)
    frames = Frames()
    heard = {Channel.STDOUT: b"", Channel.STDERR: b"", Channel.EXIT: b""}
    for start in range(0, len(data), size):
        for channel, text in frames.feed(data[start : start + size]):
            heard[channel] += text
    for channel in (Channel.STDOUT, Channel.STDERR):
        assert heard[channel] == b"".join(text for each, text in said if each is channel)
    assert heard[Channel.EXIT] == bytes([code])


@pytest.mark.parametrize(
    "head",
    [HEADER.pack(9, 1), HEADER.pack(Channel.STDOUT, LIMIT + 1), HEADER.pack(Channel.EXIT, 2)],
)
def test_what_is_no_frame_is_refused(head: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Frames().feed(head))
