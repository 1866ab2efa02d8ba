"""What clients ask and daemons answer, through one thread between two sockets.

Questions that are passed on by their bytes alone (`skims`) end as those that are decoded.
"""

import select
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from random import Random
from typing import Any

import pytest

from protocol.nar.events import Data, Directory, End, Entry, Event, Regular
from protocol.nar.writer import NarWriter
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Number
from protocol.wire.operation import Request
from protocol.worker import stderr
from protocol.worker.messages import (
    AddTempRoot,
    IsValidPath,
    NarFromPath,
    QueryPathInfo,
    QueryValidPaths,
)
from protocol.worker.stderr import LogMessage, Next, NixError
from protocol.worker.versions import NEWEST
from shim.daemon.clients.client import ClientGone
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused
from tests.support.lanes import LONG, Scene, scene

PATH = StorePath.of("0" * 32 + "-x")
OTHER = StorePath.of("1" * 32 + "-y")
INFO = PathInfo(
    deriver=OTHER,
    nar_hash=Hash.of(b""),
    references=frozenset({PATH, OTHER}),
    nar_size=120,
    signatures=frozenset({"key-1:c2lnbmF0dXJl"}),
)

OLD = Number(1, 21)
BEYOND = 1 << 20
"""Bytes of a file that comes in many pieces."""

Serve = Callable[[Scene], None]


def contents(size: int) -> bytes:
    return Random(size).randbytes(size)  # noqa: S311 - nothing secret


def nar(*sizes: int) -> bytes:
    """Files of these sizes in nested directories."""
    events: list[Event] = []
    for number, size in enumerate(sizes):
        name = b"%04d" % number
        events += [Entry(name), Directory(), Entry(b"file"), Regular(executable=False, size=size)]
        events += [Data(contents(size))] if size else []
        events += [End(), End()]
    return NarWriter().write_all([Directory(), *events, End()])


def decode(found: Scene) -> None:
    """Serve the client, decoding all that it asks."""
    lane = found.lane
    while True:
        lane.relay(lane.next_request(), lane.log)


def skim(found: Scene) -> None:
    """The same, by bytes alone where that can be."""
    lane = found.lane
    while True:
        asked = lane.skim(lambda *_: True, lambda *_: None)
        if asked is not None:
            lane.relay(asked, lane.log, passed=True)
        else:
            lane.relay(lane.next_request(), lane.log)


both = pytest.mark.parametrize("serve", [decode, skim])

QUESTIONS: list[tuple[Request[Any], Any]] = [
    (IsValidPath(PATH), True),
    (IsValidPath(PATH), False),
    (QueryPathInfo(PATH), None),
    (QueryPathInfo(PATH), INFO),
    (AddTempRoot(PATH), None),
]


def converse(found: Scene, question: Request[Any], answer: Any) -> None:
    """One question that goes well."""
    found.board.ask(question)
    assert found.daemon.asked() == question
    found.daemon.reply(answer)
    assert found.board.answer() == ([], answer)


def is_well(found: Scene, run: "Future[Any]") -> None:
    """The session goes on."""
    converse(found, IsValidPath(OTHER), answer=True)
    converse(found, QueryPathInfo(OTHER), INFO)
    assert not run.done()


@pytest.mark.parametrize(("question", "answer"), QUESTIONS)
@pytest.mark.parametrize("number", [OLD, NEWEST])
def test_questions_pass_as_they_are(number: Number, question: Request[Any], answer: Any) -> None:
    passed: list[tuple[int, str, bytes]] = []
    with scene(number) as (found, start):

        def note(code: int, path: str, said: bytes) -> None:
            passed.append((code, path, said))

        run = start(lambda: found.lane.skim(lambda *_: len(passed) < 2, note))
        for _ in range(2):
            converse(found, question, answer)
        assert found.daemon.heard == found.board.sent
        assert found.board.heard == found.daemon.sent
        said = found.daemon.sent[: len(found.daemon.sent) // 2]
        found.board.ask(question)
        assert run.result(LONG) is None
        assert found.lane.next_request().request == question
        # Nothing of what is not allowed has gone on.
        assert not select.select([found.daemon.sock], [], [], 0)[0]
    assert passed == [(question.operation.code, PATH, said)] * 2


@both
@pytest.mark.parametrize("number", [Number(1, 38), Number(1, 37)])
@pytest.mark.parametrize("sizes", [(), (5,), (0, 7), (BEYOND, 3), (3, BEYOND + 1, BEYOND + 3, 1)])
def test_nars_pass_whole(serve: Serve, number: Number, sizes: tuple[int, ...]) -> None:
    whole = nar(*sizes)
    with scene(number) as (found, start):
        run = start(partial(serve, found))
        for _ in range(2):
            found.board.ask(NarFromPath(PATH))
            assert found.daemon.asked() == NarFromPath(PATH)
            sending = start(partial(hand_out, found, whole))
            assert found.board.answer() == ([], None)
            assert found.board.body() == whole
            sending.result(LONG)
        is_well(found, run)


def hand_out(found: Scene, whole: bytes) -> None:
    connection = found.daemon.connection
    head = connection.reply(None)
    found.daemon.send(head + connection.reply_body(whole) + connection.reply_body_end())


@both
@pytest.mark.parametrize("apart", [True, False])
def test_what_is_said_before_an_answer_is_passed_on(serve: Serve, *, apart: bool) -> None:
    said: list[LogMessage] = [Next("first"), Next("second")]
    with scene(OLD) as (found, start):
        run = start(partial(serve, found))
        found.board.ask(QueryPathInfo(PATH))
        found.daemon.asked()
        connection = found.daemon.connection
        pieces = [*map(connection.log, said), connection.reply(INFO)]
        for piece in pieces if apart else [b"".join(pieces)]:
            found.daemon.send_and_wait(piece)
        assert found.board.answer() == (said, INFO)
        is_well(found, run)


@both
def test_an_answer_in_pieces_arrives_whole(serve: Serve) -> None:
    with scene() as (found, start):
        run = start(partial(serve, found))
        for cut in (1, 8, 16, 17, 40, -1):
            found.board.ask(QueryPathInfo(PATH))
            found.daemon.asked()
            said = found.daemon.connection.reply(INFO)
            found.daemon.send_and_wait(said[:cut])
            found.daemon.send(said[cut:])
            assert found.board.answer() == ([], INFO)
        is_well(found, run)


@both
def test_a_question_in_pieces_arrives_whole(serve: Serve) -> None:
    with scene() as (found, start):
        run = start(partial(serve, found))
        for cut in (1, 8, 16, 30):
            question = found.board.connection.ask(IsValidPath(PATH))
            found.board.send_and_wait(question[:cut])
            found.board.send(question[cut:])
            assert found.daemon.asked() == IsValidPath(PATH)
            found.daemon.reply(value=True)
            assert found.board.answer() == ([], True)
        is_well(found, run)


@both
@pytest.mark.parametrize("number", [OLD, NEWEST])
def test_an_error_is_passed_on(serve: Serve, number: Number) -> None:
    with scene(number) as (found, start):

        def serve_on() -> None:
            while True:
                try:
                    serve(found)
                except DaemonRefused as refused:
                    found.lane.tell(found.client.connection.fail(refused.error))

        run = start(serve_on)
        found.board.ask(QueryPathInfo(PATH))
        found.daemon.asked()
        found.daemon.send(found.daemon.connection.fail(NixError("not that one")))
        assert found.board.answer() == ([], "not that one")
        is_well(found, run)


def test_an_error_that_comes_before_a_long_request_has_gone_on_is_heard() -> None:
    names = [f"{number:032}-x" for number in range(50_000)]
    question = QueryValidPaths(frozenset(map(StorePath.of, names)), substitute=False)
    with scene() as (found, start):
        run = start(partial(decode, found))
        sending = start(partial(found.board.ask, question))
        select.select([found.daemon.sock], [], [])
        connection = found.daemon.connection
        found.daemon.send_and_wait(stderr.message.put(NixError("too long"), connection.dialect))
        assert found.daemon.asked() == question
        sending.result(LONG)
        assert found.board.answer() == ([], "too long")
        assert not run.done()


@both
def test_who_asks_ahead_is_answered_in_order(serve: Serve) -> None:
    second = second_question()
    with scene() as (found, start):
        run = start(partial(serve, found))
        found.board.ask(IsValidPath(PATH))
        assert found.daemon.asked() == IsValidPath(PATH)
        found.board.send_and_wait(second)
        found.daemon.reply(value=True)
        assert found.board.answer() == ([], True)
        assert found.daemon.asked() == QueryPathInfo(OTHER)
        found.board.connection.ask(QueryPathInfo(OTHER))
        found.daemon.reply(INFO)
        assert found.board.answer() == ([], INFO)
        # Both at once.
        found.board.send(found.board.connection.ask(IsValidPath(PATH)) + second)
        assert found.daemon.asked() == IsValidPath(PATH)
        found.daemon.reply(value=False)
        assert found.board.answer() == ([], False)
        assert found.daemon.asked() == QueryPathInfo(OTHER)
        found.board.connection.ask(QueryPathInfo(OTHER))
        found.daemon.reply(None)
        assert found.board.answer() == ([], None)
        is_well(found, run)


def second_question() -> bytes:
    with scene() as (found, _):
        return found.board.connection.ask(QueryPathInfo(OTHER))


@both
@pytest.mark.parametrize("half", [True, False])
def test_a_client_that_leaves_while_the_daemon_is_silent(serve: Serve, *, half: bool) -> None:
    with scene() as (found, start):
        run = start(partial(serve, found))
        found.board.ask(IsValidPath(PATH))
        found.daemon.asked()
        if half:
            found.board.sock.shutdown(socket.SHUT_WR)
        else:
            found.board.close()
        with pytest.raises(ClientGone) as caught:
            run.result(LONG)
        assert not caught.value.vanished


@both
def test_a_client_that_leaves_between_requests(serve: Serve) -> None:
    with scene() as (found, start):
        run = start(partial(serve, found))
        is_well(found, run)
        found.board.close()
        with pytest.raises(ClientGone, match="closed"):
            run.result(LONG)


@both
@pytest.mark.parametrize("when", ["before", "after", "unread", "within"])
def test_a_client_hears_that_its_daemon_is_gone(serve: Serve, when: str) -> None:
    with scene() as (found, start):
        run = start(partial(serve, found))
        if when == "before":
            found.daemon.close()
        found.board.ask(QueryPathInfo(PATH))
        if when != "before":
            select.select([found.daemon.sock], [], [])
        if when in ("after", "within"):
            found.daemon.asked()
        if when == "within":
            found.daemon.send(found.daemon.connection.reply(INFO)[:20])
        found.daemon.close()
        with pytest.raises(DaemonLost, match=r"closed|ended") as caught:
            run.result(LONG)
        found.lane.fail(str(caught.value))
        assert found.board.answer() == ([], str(caught.value))
        found.connect()
        is_well(found, start(partial(serve, found)))


@both
def test_a_daemon_that_says_nothing_is_given_up(serve: Serve) -> None:
    with scene(reply=0.05) as (found, start):
        run = start(partial(serve, found))
        found.board.ask(QueryPathInfo(PATH))
        with pytest.raises(DaemonLost, match="was silent"):
            run.result(LONG)
        found.lane.fail("lost")
        assert found.board.answer() == ([], "lost")


@both
def test_a_client_that_asks_nothing_is_given_up(serve: Serve) -> None:
    with scene(idle=0.05) as (found, start):
        with pytest.raises(ClientGone, match="silent") as caught:
            start(partial(serve, found)).result(LONG)
        assert caught.value.vanished


@both
@pytest.mark.parametrize("sizes", [(8 * BEYOND,), (100_000,) * 80])
def test_a_client_that_takes_nothing_is_given_up(serve: Serve, sizes: tuple[int, ...]) -> None:
    with scene(transfer=0.1) as (found, start):
        run = start(partial(serve, found))
        found.board.ask(NarFromPath(PATH))
        found.daemon.asked()
        start(partial(hand_out, found, nar(*sizes)))
        with pytest.raises(ClientGone, match="took nothing") as caught:
            run.result(LONG)
        assert caught.value.vanished


@both
def test_whoever_may_wait_for_ever_does(serve: Serve) -> None:
    for_ever = float("inf")
    with scene(idle=for_ever, reply=for_ever, transfer=for_ever) as (found, start):
        run = start(partial(serve, found))
        found.board.ask(NarFromPath(PATH))
        found.daemon.asked()
        sending = start(partial(hand_out, found, nar(8 * BEYOND)))
        assert found.board.answer() == ([], None)
        assert found.board.body() == nar(8 * BEYOND)
        sending.result(LONG)
        is_well(found, run)


CUTS = [1, 100, 300, 1000, BEYOND // 2, BEYOND + 200, BEYOND + 300, 2 * BEYOND]


@both
@pytest.mark.parametrize("cut", CUTS)
def test_a_daemon_that_closes_within_a_nar_is_lost(serve: Serve, cut: int) -> None:
    whole = nar(BEYOND, 2 * BEYOND)
    with scene() as (found, start):
        run = start(partial(serve, found))
        found.board.ask(NarFromPath(PATH))
        found.daemon.asked()

        def send() -> None:
            said = found.daemon.connection.reply(None) + whole
            found.daemon.send(said[:cut])
            found.daemon.close()

        sending = start(send)
        heard = start(lambda: list(iter(lambda: found.board.sock.recv(1 << 16), b"")))
        with pytest.raises(DaemonLost):
            run.result(LONG)
        sending.result(LONG)
        found.end()
        assert len(b"".join(heard.result(LONG))) <= cut


@both
@pytest.mark.parametrize("sizes", [(8 * BEYOND,), (1000,) * 8000])
def test_a_client_that_leaves_within_a_nar(serve: Serve, sizes: tuple[int, ...]) -> None:
    with scene() as (found, start):
        run = start(partial(serve, found))
        found.board.ask(NarFromPath(PATH))
        found.daemon.asked()
        sending = start(partial(hand_out, found, nar(*sizes)))
        assert found.board.answer() == ([], None)
        found.board.close()
        with pytest.raises(ClientGone):
            run.result(LONG)
        found.end()
        assert isinstance(sending.exception(LONG), OSError)
