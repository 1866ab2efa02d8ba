"""A session followed from between its ends: the same requests are seen as its server sees."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from protocol.errors import RemoteProtocolError
from protocol.transcript.decode import messages
from protocol.transcript.record import Direction, Frame, RecordingReader
from protocol.version import Dialect, Number
from protocol.wire.source import WORD
from protocol.worker import events as worker
from protocol.worker import handshake, skimming
from protocol.worker.follower import Followed, Follower
from tests.support.recorded import RECORDINGS, name_of

WORKER = [file for file in RECORDINGS if file.name.startswith("worker")]


def cut(frame: Frame, size: int) -> list[bytes]:
    return [frame.data[start : start + size] for start in range(0, len(frame.data), size)]


def follow(frames: list[Frame], size: int) -> tuple[list[Followed], Follower]:
    """What a follower reports; asserts that it lets pass only what has been understood."""
    follower, sent = Follower(), 0
    seen: list[Followed] = []
    for frame in frames:
        for piece in cut(frame, size):
            if frame.direction is Direction.TO_CLIENT:
                follower.from_daemon(piece)
            else:
                sent += len(piece)
                follower.from_client(piece)
            while (event := follower.next_event()) is not None:
                seen.append(event)
            assert follower.position <= sent
    assert follower.position == sent
    return seen, follower


def recorded(file: Path) -> list[Frame]:
    return list(RecordingReader().feed(file.read_bytes()))


def asked(events: Sequence[object]) -> list[worker.Asked]:
    return [event for event in events if isinstance(event, worker.Asked)]


@pytest.mark.parametrize("file", WORKER, ids=name_of)
def test_requests_of_real_clients_are_seen_as_a_server_sees_them(file: Path) -> None:
    served = [message.event for message in messages([file.read_bytes()])]
    seen, _ = follow(recorded(file), 1 << 20)
    assert asked(seen) == asked(served)
    greeted = next(event for event in served if isinstance(event, worker.Greeted))
    assert seen[0] == greeted


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("file", WORKER[::9], ids=name_of)
def test_however_the_bytes_are_cut(file: Path, size: int) -> None:
    whole, _ = follow(recorded(file), 1 << 20)
    pieces, _ = follow(recorded(file), size)
    assert pieces == whole


def words(*numbers: int) -> bytes:
    return b"".join(map(WORD.pack, numbers))


def greeting(features: frozenset[str]) -> bytes:
    put = handshake.features.put(features, Dialect(Number(1, 38)))
    return words(handshake.CLIENT_MAGIC, 0x126) + put + words(0, 0)


def test_features_are_those_that_both_ends_have() -> None:
    follower = Follower()
    ours, theirs = (
        frozenset({"delete-dead-specific-referrers", "submit-output"}),
        frozenset({"delete-dead-specific-referrers", "realisation-with-path-not-hash"}),
    )
    follower.from_client(greeting(ours))
    assert follower.next_event() is None
    follower.from_daemon(words(handshake.SERVER_MAGIC, 0x126))
    assert follower.next_event() is None
    follower.from_daemon(handshake.features.put(theirs, Dialect(Number(1, 38))))
    assert follower.next_event() == worker.Greeted(Dialect(Number(1, 38), ours & theirs))


def test_a_feature_of_a_later_nix_cannot_be_followed() -> None:
    follower, later = Follower(), frozenset({"of-a-later-nix"})
    follower.from_client(greeting(later))
    follower.from_daemon(words(handshake.SERVER_MAGIC, 0x126))
    follower.next_event()
    follower.from_daemon(handshake.features.put(later, Dialect(Number(1, 38))))
    with pytest.raises(RemoteProtocolError, match="of-a-later-nix"):
        follower.next_event()


def test_a_request_is_held_back_until_it_is_complete() -> None:
    follower = Follower()
    follower.from_client(words(handshake.CLIENT_MAGIC, 0x122, 0, 0))
    follower.from_daemon(words(handshake.SERVER_MAGIC, 0x122))
    assert isinstance(follower.next_event(), worker.Greeted)
    assert follower.position == 32
    follower.from_client(words(9, 0))
    assert follower.next_event() is None
    assert follower.position == 32
    follower.from_client(words(0))
    assert isinstance(follower.next_event(), worker.Asked)
    assert follower.position == 56


def skim(file: Path) -> tuple[list[Followed], int]:
    """What a follower reports that skims what it can, and how many bytes it skimmed."""
    follower, skimmed, sent = Follower(), 0, 0
    seen: list[Followed] = []
    for frame in recorded(file):
        if frame.direction is Direction.TO_CLIENT:
            follower.from_daemon(frame.data)
        else:
            sent += len(frame.data)
            if follower.skim(frame.data):
                skimmed += len(frame.data)
            else:
                follower.from_client(frame.data)
        while (event := follower.next_event()) is not None:
            seen.append(event)
    assert follower.position == sent
    return seen, skimmed


@pytest.mark.parametrize("file", WORKER, ids=name_of)
def test_what_is_skimmed_of_real_sessions_changes_nothing_behind_it(file: Path) -> None:
    names = {*skimming.OF_A_PATH.values(), "AddToStoreNar"}

    def others(events: Sequence[object]) -> list[worker.Asked]:
        return [each for each in asked(events) if each.operation.name not in names]

    seen, _ = follow(recorded(file), 1 << 20)
    assert others(skim(file)[0]) == others(seen)


def test_real_clients_say_much_that_can_be_skimmed() -> None:
    copies = [file for file in WORKER if file.name.startswith("worker-copies")]
    assert sum(skim(file)[1] > 0 for file in copies) > len(copies) / 2
