"""What clients upload, through one thread between two sockets: as slowly, or as early, as it comes.

A daemon is heard while it is sent a body, and a client is told what it says at the same time.
"""

import select
import socket
import time
from dataclasses import replace
from functools import partial

import pytest

from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Number
from protocol.worker import multiple
from protocol.worker.messages import AddMultipleToStore, AddToStoreNar, IsValidPath
from protocol.worker.stderr import LogMessage, Next, NixError
from protocol.worker.versions import NEWEST
from shim.config import Uploads
from shim.daemon.clients.client import ClientGone
from shim.daemon.clients.uploads import Intake
from shim.daemon.nix.upstream import DaemonLost
from tests.shim.daemon.test_lane import decode, nar
from tests.support.lanes import LONG, Scene, is_well, scene

PATHS = [StorePath.of(str(number) * 32 + "-x") for number in range(6)]
BIG = nar(4 << 20)
"""What no buffers on its way hold."""

LINE = Next("one of many lines")


def add(path: StorePath, whole: bytes) -> AddToStoreNar:
    return AddToStoreNar(path, info(whole))


def info(whole: bytes) -> PathInfo:
    return PathInfo(nar_hash=Hash.of(whole), nar_size=len(whole))


def fill(found: Scene, data: bytes) -> int:
    """Send for the client until nothing more is taken; how much was."""
    sock = found.board.sock
    sock.setblocking(False)
    sent = 0
    while sent < len(data) and select.select([], [sock], [], 0.1)[1]:
        sent += sock.send(data[sent : sent + (1 << 16)])
    sock.settimeout(LONG)
    return sent


def upload(found: Scene, request: AddToStoreNar, pieces: list[bytes]) -> None:
    connection = found.board.connection
    found.board.ask(request)
    found.board.send(b"".join(map(connection.body, pieces)) + connection.body_end())


SMALL = nar(30_000, 100)
CUTS = {
    "whole": [BIG],
    "pages": [BIG[at : at + 4096] for at in range(0, len(BIG), 4096)],
    "crumbs": [SMALL[at : at + 7] for at in range(0, len(SMALL), 7)],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_body_arrives_whole_however_it_is_cut(cut: str) -> None:
    pieces = CUTS[cut]
    request = add(PATHS[0], b"".join(pieces))
    with scene() as (found, start):
        start(partial(decode, found))
        for _ in range(2):
            sending = start(partial(upload, found, request, pieces))
            assert found.daemon.asked() == request
            assert found.daemon.body() == b"".join(pieces)
            found.daemon.reply(None)
            sending.result(LONG)
            assert found.board.answer() == ([], None)
        is_well(found)


ADD = AddToStoreNar(PATHS[0], info(BIG), dont_check_signatures=True)


def take_many(found: Scene) -> None:
    lane = found.lane
    asked = lane.next_request()
    assert isinstance(asked.request, AddMultipleToStore)
    Intake(Uploads.ACCEPT, (), "/nix/store").take_many(lane, lane.log)
    lane.reply(None)
    decode(found)


def test_who_sends_several_paths_may_be_far_ahead_of_the_daemon() -> None:
    # Many times the 1 MiB that are kept of who speaks out of turn.
    body = multiple.count(len(PATHS)) + b"".join(
        multiple.info(path, info(BIG)) + BIG for path in PATHS
    )
    with scene() as (found, start):
        start(partial(take_many, found))
        found.board.ask(AddMultipleToStore())
        connection = found.board.connection
        said = b"".join(
            connection.body(body[at : at + (1 << 16)]) for at in range(0, len(body), 1 << 16)
        )
        said += connection.body_end()
        sending = start(partial(found.board.send, said))
        for path in PATHS:
            assert found.daemon.asked() == replace(ADD, path=path)
            assert found.daemon.body() == BIG
            # It has all of one path and thinks it over until the client can send no more.
            while select.select([], [found.board.sock], [], 0.1)[1] and not sending.done():
                time.sleep(0.001)
            found.daemon.reply(None)
        sending.result(LONG)
        assert found.board.answer() == ([], None)
        is_well(found)


def begin(found: Scene) -> bytes:
    """Upload the first half of something; its other half."""
    half = len(SMALL) // 2
    found.board.ask(add(PATHS[0], SMALL))
    found.board.send(found.board.connection.body(SMALL[:half]))
    found.daemon.asked()
    found.daemon.body(half)
    return SMALL[half:]


def end(found: Scene, rest: bytes) -> None:
    connection = found.board.connection
    found.board.send(connection.body(rest) + connection.body_end())


@pytest.mark.parametrize("number", [Number(1, 23), NEWEST])
def test_a_daemon_is_heard_while_its_client_thinks(number: Number) -> None:
    said: list[LogMessage] = [Next("first"), Next("second")]
    with scene(number) as (found, start):
        start(partial(decode, found))
        rest = begin(found)
        heard = []
        for message in said:
            found.daemon.send(found.daemon.connection.log(message))
            heard.append(found.board.event().message)
        assert heard == said
        end(found, rest)
        found.daemon.body()
        found.daemon.reply(None)
        assert found.board.answer() == ([], None)
        is_well(found)


def test_a_daemon_that_takes_nothing_before_it_is_heard() -> None:
    lines = 30_000
    with scene() as (found, start):
        start(partial(decode, found))
        sending = start(partial(upload, found, add(PATHS[0], BIG), [BIG]))
        found.daemon.asked()
        talk = found.daemon.connection.log(LINE) * lines
        hearing = start(found.board.answer)
        found.daemon.sock.sendall(talk)
        assert found.daemon.body() == BIG
        found.daemon.reply(None)
        sending.result(LONG)
        said, answer = hearing.result(LONG)
        assert (len(said), answer) == (lines, None)
        is_well(found)


@pytest.mark.parametrize("logs", [True, False])
def test_a_daemon_that_refuses_early_still_gets_an_end(*, logs: bool) -> None:
    with scene() as (found, start):
        start(partial(decode, found))
        rest = begin(found)
        connection = found.daemon.connection
        words = connection.log(LINE) if logs else b""
        found.daemon.send_and_wait(words + connection.fail(NixError("not that one")))
        end(found, rest)
        assert found.board.answer() == ([LINE] if logs else [], "not that one")
        is_well(found)


def test_a_body_is_read_to_its_end_behind_an_early_refusal() -> None:
    with scene() as (found, start):
        start(partial(decode, found))
        sending = start(partial(upload, found, add(PATHS[0], BIG), [BIG]))
        found.daemon.asked()
        found.daemon.send(found.daemon.connection.fail(NixError("not that one")))
        hearing = start(found.board.answer)
        board, daemon = found.board, found.daemon
        question = start(daemon.asked)
        sending.result(LONG)
        assert hearing.result(LONG) == ([], "not that one")
        board.ask(IsValidPath(PATHS[1]))
        assert question.result(LONG) == IsValidPath(PATHS[1])
        daemon.reply(value=True)
        assert board.answer() == ([], True)


@pytest.mark.parametrize("half", [True, False])
def test_the_last_words_of_a_daemon_reach_who_uploads(*, half: bool) -> None:
    with scene() as (found, start):
        start(partial(decode, found))
        rest = begin(found)
        found.daemon.send(found.daemon.connection.fail(NixError("no space left")))
        if half:
            found.daemon.sock.shutdown(socket.SHUT_WR)
        else:
            found.daemon.close()
        end(found, rest)
        assert found.board.answer() == ([], "no space left")


def test_the_last_words_of_a_daemon_that_has_not_read_reach_who_uploads() -> None:
    with scene() as (found, start):
        start(partial(decode, found))
        found.board.ask(add(PATHS[0], BIG))
        found.daemon.asked()
        data = found.board.connection.body(BIG)
        sent = fill(found, data)
        assert sent < len(data)
        found.daemon.send(found.daemon.connection.fail(NixError("no space left")))
        found.daemon.close()
        found.board.send(data[sent:] + found.board.connection.body_end())
        assert found.board.answer() == ([], "no space left")


def test_a_daemon_that_refused_early_and_left_keeps_nobody_busy() -> None:
    spent: list[float] = []
    with scene(transfer=0.3) as (found, start):

        def serve() -> None:
            try:
                decode(found)
            finally:
                spent.append(time.thread_time())

        run = start(serve)
        begin(found)
        found.daemon.send(found.daemon.connection.fail(NixError("no space left")))
        found.daemon.close()
        with pytest.raises(ClientGone, match="silent"):
            run.result(LONG)
    # It has waited for three tenths of a second, whatever else this machine did.
    assert spent[0] < 0.15


@pytest.mark.parametrize("unread", [True, False])
def test_a_daemon_that_leaves_within_a_body_is_lost(*, unread: bool) -> None:
    with scene() as (found, start):
        run = start(partial(decode, found))
        rest = begin(found)
        if unread:
            found.board.send_and_wait(found.board.connection.body(rest[:1000]))
        found.daemon.close()
        with pytest.raises(DaemonLost, match="closed the connection") as caught:
            run.result(LONG)
        found.lane.fail(str(caught.value))
        assert found.board.answer() == ([], str(caught.value))
        # What was still on its way is none of the next daemon's.
        end(found, rest[1000:] if unread else rest)
        found.connect()
        start(partial(decode, found))
        is_well(found)


@pytest.mark.parametrize("half", [True, False])
def test_a_client_that_leaves_within_a_body(*, half: bool) -> None:
    with scene() as (found, start):
        run = start(partial(decode, found))
        begin(found)
        if half:
            found.board.sock.shutdown(socket.SHUT_WR)
        else:
            found.board.close()
        with pytest.raises(Exception, match=r"ended in the middle|closed"):
            run.result(LONG)


def test_a_client_that_stops_within_a_body_is_given_up() -> None:
    with scene(transfer=0.1) as (found, start):
        run = start(partial(decode, found))
        begin(found)
        with pytest.raises(ClientGone, match="silent") as caught:
            run.result(LONG)
        assert caught.value.vanished


def test_a_daemon_that_takes_nothing_is_given_up() -> None:
    with scene(transfer=0.1) as (found, start):
        run = start(partial(decode, found))
        data = found.board.connection.ask(add(PATHS[0], BIG)) + found.board.connection.body(BIG)
        fill(found, data)
        with pytest.raises(DaemonLost, match="took no byte"):
            run.result(LONG)


def test_a_daemon_that_never_answers_an_upload_is_given_up() -> None:
    with scene(reply=0.1) as (found, start):
        run = start(partial(decode, found))
        upload(found, add(PATHS[0], SMALL), [SMALL])
        found.daemon.asked()
        found.daemon.body()
        with pytest.raises(DaemonLost, match="was silent"):
            run.result(LONG)
