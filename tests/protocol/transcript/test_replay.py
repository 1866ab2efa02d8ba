"""Recordings of real Nix programs played against each other, and against what differs."""

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import pytest

from protocol.transcript.compare import USUAL
from protocol.transcript.record import Direction, RecordingReader, RecordingWriter
from protocol.transcript.replay import Player, Recorded, Report, play_client, play_server
from protocol.version import Number
from tests.support.recorded import RECORDINGS, name_of


class Side:
    """A player and what has arrived for it."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.said = next(player)
        self.inbox: deque[bytes] = deque()
        self.report: Report | None = None

    def step(self, other: "Side") -> bool:
        """Let it act once; whether it could."""
        if self.report is not None:
            return False
        arrived: bytes | None = self.inbox.popleft() if self.inbox else None
        if arrived is None and self.said is None:
            if other.report is None:
                return False
            arrived = b""
        if self.said:
            other.inbox.append(self.said)
        try:
            self.said = self.player.send(arrived)
        except StopIteration as done:
            self.report = done.value
        return True


def converse(client: Player, server: Player) -> tuple[Report, Report]:
    """Both reports of two players that speak with each other."""
    sides = Side(client), Side(server)
    while any([sides[0].step(sides[1]), sides[1].step(sides[0])]):
        pass
    assert sides[0].report is not None, "the client waits for ever"
    assert sides[1].report is not None, "the server waits for ever"
    return sides[0].report, sides[1].report


def recorded(file: Path) -> Recorded:
    return Recorded([file.read_bytes()])


@pytest.mark.parametrize("file", RECORDINGS, ids=name_of)
def test_the_halves_of_a_recording_fit_together(file: Path) -> None:
    asked, answered = converse(
        play_client(recorded(file), exempt=()), play_server(recorded(file), exempt=())
    )
    assert asked.differences == answered.differences == []
    assert asked.compared >= 1
    assert asked.interrupted == answered.interrupted


def one(pattern: str) -> Path:
    return next(file for file in RECORDINGS if name_of(file).startswith(pattern))


def other_times(file: Path, exempt: Iterable[str]) -> Report:
    """The recording of 2.8 whose daemon answers with another run of the same conversation."""
    changed = file.read_bytes().replace(b"2.8.0", b"2.8.9")
    return converse(play_client(recorded(file), exempt), play_server(Recorded([changed]), exempt))[
        0
    ]


def test_what_differs_is_told_by_request() -> None:
    report = other_times(one("2.8.0/worker-build-1"), USUAL)
    (difference,) = report.differences
    assert (difference.exchange, difference.request) == (0, "handshake")
    assert "2.8.0" in difference.recorded[0]
    assert "2.8.9" in difference.heard[0]


def test_what_is_exempt_may_differ() -> None:
    assert other_times(one("2.8.0/worker-build-1"), USUAL | {"release"}).differences == []


def test_an_unknown_exemption_is_refused() -> None:
    file = one("2.8.0/worker-build-1")
    with pytest.raises(KeyError, match="weather"):
        converse(play_client(recorded(file), {"weather"}), play_server(recorded(file), ()))


def test_another_conversation_is_refused_with_what_was_expected() -> None:
    asked, answered = converse(
        play_client(recorded(one("2.8.0/worker-queries-1")), {"settings"}),
        play_server(recorded(one("2.8.0/worker-upkeep-4")), {"settings"}),
    )
    assert asked.differences
    assert answered.differences


def cut_short(file: Path) -> bytes:
    """A recording that ends behind its last request."""
    reader, writer = RecordingReader(), RecordingWriter()
    kept = list(reader.feed(file.read_bytes()))
    ends = [at for at, frame in enumerate(kept) if frame.direction is Direction.TO_SERVER]
    del kept[ends[-1] + 1 :]
    assert reader.header is not None
    return writer.start(reader.header) + b"".join(
        writer.frame(each.direction, each.microseconds, each.data) for each in kept
    )


def test_an_interrupted_client_stops_where_it_was_interrupted() -> None:
    whole = one("2.8.0/worker-build-1")
    short = cut_short(whole)
    report, _ = converse(play_client(Recorded([short])), play_server(recorded(whole)))
    assert report.interrupted
    assert report.differences == []


@pytest.mark.parametrize("offer", [Number(1, 21), Number(1, 32), Number(1, 38)])
def test_a_living_server_may_speak_another_version(offer: Number) -> None:
    """Everything but versions, and what the older one cannot say, comes out the same."""
    file = one("2.8.0/worker-queries-1")
    server = recorded(file)
    server.server = type(server.server)(offer)
    report, _ = converse(
        play_client(recorded(file), USUAL | {"version"}),
        play_server(server, USUAL | {"version", "settings"}),
    )
    assert report.differences == []


def test_a_server_that_closes_during_a_body_ends_the_replay() -> None:
    file = one("2.8.0/worker-copies-3")
    client, server = Side(play_client(recorded(file))), Side(play_server(recorded(file)))
    while len(client.said or b"") < 30_000:  # until it is within the upload
        client.step(server)
        server.step(client)
    server.report = Report()
    server.inbox.clear()
    client.inbox.clear()
    client.said = None
    while client.step(server):
        client.said = None
    assert client.report is not None
    assert "PeerClosed" in client.report.differences[0].heard[-1]
