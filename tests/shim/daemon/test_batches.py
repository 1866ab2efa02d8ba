"""How uploads of several paths reach the nix-daemon: in batches, alone, or path by path."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from protocol.store.content_address import ContentAddress, Method
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import SecretKey
from protocol.version import Number
from protocol.worker import multiple
from protocol.worker.messages import (
    AddMultipleToStore,
    AddToStoreNar,
    QueryValidPaths,
)
from protocol.worker.stderr import NixError
from shim.config import Uploads
from shim.daemon.clients.batches import BATCH, SMALL
from shim.daemon.clients.uploads import Intake, Malformed
from shim.errors import ShimError
from tests.shim.daemon.test_lane import nar
from tests.support.lanes import LONG, Scene, is_well, scene

TINY = nar(300)
LARGE = nar(SMALL)

KEY = SecretKey.generate("k-1")

Item = tuple[StorePath, PathInfo, bytes]


def item(number: int, whole: bytes = TINY, **said: Any) -> Item:
    path = StorePath.of(f"{number:032}-x")
    return path, PathInfo(nar_hash=Hash.of(whole), nar_size=len(whole), **said), whole


def body(items: Iterable[Item]) -> bytes:
    items = list(items)
    return multiple.count(len(items)) + b"".join(
        multiple.info(path, info) + whole for path, info, whole in items
    )


def send(found: Scene, said: bytes) -> None:
    connection = found.board.connection
    found.board.ask(AddMultipleToStore())
    found.board.send(connection.body(said) + connection.body_end())


def take(found: Scene, rule: Uploads = Uploads.ACCEPT) -> Intake:
    """Take one upload in, as a session does; answer the question behind it."""
    lane = found.lane
    intake = Intake(rule, (KEY.public(),), "/nix/store")
    lane.next_request()
    try:
        intake.take_many(lane, lane.log)
    except ShimError as error:
        lane.fail(str(error))
    else:
        lane.reply(None)
    lane.relay(lane.next_request(), lane.log)
    return intake


def taken(found: Scene) -> list[Item]:
    """What the daemon is sent by its next request."""
    match found.daemon.asked():
        case AddToStoreNar(path, info, repair=False, dont_check_signatures=True):
            return [(path, info, found.daemon.body())]
        case AddMultipleToStore(repair=False, dont_check_signatures=True):
            return read(found.daemon.body())
        case other:
            raise AssertionError(other)


def read(said: bytes) -> list[Item]:
    found: list[Item] = []
    reader = multiple.MultipleReader()
    for event in reader.feed(said):
        match event:
            case multiple.Item(path, info):
                found.append((path, info, b""))
            case multiple.NarData(data):
                path, info, whole = found[-1]
                found[-1] = (path, info, whole + data)
    reader.end()
    return found


def test_small_paths_go_on_together_and_in_order() -> None:
    items = [item(number) for number in range(500)]
    with scene() as (found, start):
        run = start(partial(take, found))
        sending = start(partial(send, found, body(items)))
        arrived: list[Item] = []
        requests = 0
        while len(arrived) < len(items):
            batch = taken(found)
            assert len(body(batch)) < BATCH + 1000
            arrived += batch
            requests += 1
            found.daemon.reply(None)
        sending.result(LONG)
        assert found.board.answer() == ([], None)
        is_well(found)
        run.result(LONG)
    assert arrived == items
    assert requests <= len(body(items)) // BATCH + 1


def test_a_large_path_goes_alone_and_behind_those_before_it() -> None:
    items = [item(1), item(2), item(3, LARGE), item(4)]
    with scene() as (found, start):
        start(partial(take, found))
        sending = start(partial(send, found, body(items)))
        for expected in (items[:2], items[2:3], items[3:]):
            assert taken(found) == expected
            found.daemon.reply(None)
        sending.result(LONG)
        assert found.board.answer() == ([], None)
        is_well(found)


def test_a_batch_is_read_while_the_one_before_is_taken_in() -> None:
    items = [item(number) for number in range(500)]
    with scene() as (found, start):
        start(partial(take, found))
        said = body(items)
        connection = found.board.connection
        found.board.ask(AddMultipleToStore())
        half = BATCH * 3 // 2
        found.board.send_and_wait(connection.body(said[:half]))  # of the second batch, a half
        first = taken(found)
        found.board.send_and_wait(connection.body(said[half : 2 * BATCH - 1000]))  # unanswered yet
        found.daemon.reply(None)
        sending = start(
            partial(
                found.board.send, connection.body(said[2 * BATCH - 1000 :]) + connection.body_end()
            )
        )
        while len(first) < len(items):
            first += taken(found)
            found.daemon.reply(None)
        sending.result(LONG)
        assert found.board.answer() == ([], None)
        is_well(found)
    assert first == items


def test_a_refused_batch_is_sent_again_path_by_path() -> None:
    """Nix 2.8 loses its place in a batch at a path that it has; alone that is no error."""
    items = [item(number) for number in range(3)]
    with scene() as (found, start):
        start(partial(take, found))
        send(found, body(items))
        assert taken(found) == items
        found.daemon.send(found.daemon.connection.fail(NixError("lost my place")))
        for each in items:
            assert taken(found) == [each]
            found.daemon.reply(None)
        assert found.board.answer() == ([], None)
        is_well(found)


def test_an_error_of_one_path_is_told_and_ends_the_upload() -> None:
    items = [item(number) for number in range(3)]
    with scene() as (found, start):
        run = start(partial(take, found))
        send(found, body(items))
        taken(found)
        found.daemon.send(found.daemon.connection.fail(NixError("one of them is bad")))
        taken(found)
        found.daemon.reply(None)
        taken(found)
        found.daemon.send(found.daemon.connection.fail(NixError("the second is bad")))
        with pytest.raises(Exception, match="the second is bad"):
            run.result(LONG)


def test_older_daemons_are_sent_path_by_path() -> None:
    items = [item(number) for number in range(3)]
    with scene(offer=Number(1, 31)) as (found, start):
        start(partial(take, found))
        send(found, body(items))
        for each in items:
            assert taken(found) == [each]
            found.daemon.reply(None)
        assert found.board.answer() == ([], None)
        is_well(found)


FORGED = item(9, content_address=ContentAddress(Method.NAR, Hash.of(b"another")))


def test_what_came_before_a_refused_path_is_let_in() -> None:
    items = [item(1), item(2), FORGED, item(3)]
    with scene() as (found, start):
        start(partial(take, found))
        send(found, body(items))
        assert taken(found) == items[:2]
        found.daemon.reply(None)
        _, answer = found.board.answer()
        assert str(FORGED[0]) in answer
        is_well(found)


def test_a_forged_path_is_refused_while_a_batch_is_under_way() -> None:
    items = [*(item(number) for number in range(100, 250)), FORGED]
    with scene() as (found, start):
        start(partial(take, found))
        sending = start(partial(send, found, body(items)))
        arrived: list[Item] = []
        while len(arrived) < len(items) - 1:
            arrived += taken(found)
            found.daemon.reply(None)
        sending.result(LONG)
        _, answer = found.board.answer()
        assert str(FORGED[0]) in answer
        is_well(found)
    assert arrived == items[:-1]


def test_a_malformed_upload_is_told_from_a_refused_one() -> None:
    with scene() as (found, start):
        lane = found.lane

        def serve() -> None:
            lane.next_request()
            Intake(Uploads.ACCEPT, (), "/nix/store").take_many(lane, lane.log)

        run = start(serve)
        send(found, multiple.count(2) + body([item(1)])[8:])
        with pytest.raises(Malformed, match="before all of its paths have come"):
            run.result(LONG)


def signed(number: int, *references: Item) -> Item:
    path, info, whole = item(number, references=frozenset(each[0] for each in references))
    signature = KEY.sign(info.fingerprint(path))
    return path, replace(info, signatures=frozenset({signature})), whole


def test_references_that_came_along_are_not_asked_for() -> None:
    before = item(1)
    first = signed(2, before)
    second = signed(3, before, first)
    with scene() as (found, start):
        run = start(partial(take, found, Uploads.REDERIVE))
        send(found, body([first, second]))
        assert found.daemon.asked() == QueryValidPaths(frozenset({before[0]}), substitute=True)
        found.daemon.reply(frozenset({before[0]}))
        assert taken(found) == [first, second]
        found.daemon.reply(None)
        assert found.board.answer() == ([], None)
        is_well(found)
        assert run.result(LONG).dropped == set()


def test_what_refers_to_a_dropped_path_is_dropped() -> None:
    unproven = item(1)
    above = signed(2, unproven)
    beside = signed(3)
    with scene() as (found, start):
        run = start(partial(take, found, Uploads.REDERIVE))
        send(found, body([beside, unproven, above]))
        # Before anything is asked of the store, what was taken so far is in it.
        assert taken(found) == [beside]
        found.daemon.reply(None)
        assert found.daemon.asked() == QueryValidPaths(frozenset({unproven[0]}), substitute=True)
        found.daemon.reply(frozenset())
        assert found.board.answer() == ([], None)
        is_well(found)
        assert run.result(LONG).dropped == {unproven[0], above[0]}
