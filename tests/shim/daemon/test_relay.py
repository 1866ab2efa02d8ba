"""One operation through the relay, between our own client and a scripted nix-daemon.

All operations, all pairs of versions that boards and daemons speak: each side sees only what it
negotiated, and what one of them cannot be told is refused with a sentence.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError
from protocol.nar.events import Data, Directory, End, Entry, Regular
from protocol.nar.writer import NarWriter
from protocol.store.naming import named
from protocol.store.path import StorePath
from protocol.store.realisation import DrvOutput
from protocol.version import PATH_NOT_HASH, Dialect, Number
from protocol.wire.operation import Body
from protocol.wire.source import Source
from protocol.worker import events as worker
from protocol.worker.client import ClientConnection
from protocol.worker.handshake import Trust
from protocol.worker.messages import NarFromPath, QueryPathInfo, QueryRealisation
from protocol.worker.registry import REGISTRY
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import LogMessage, NixError
from protocol.worker.versions import FEATURES, NEWEST
from shim.config import Deadlines
from shim.daemon.clients.client import Client, ClientGone
from shim.daemon.clients.lane import Lane
from shim.daemon.clients.passing import in_thread
from shim.daemon.nix.upstream import Upstream
from tests.support.worker import log_messages, replies, requests

CLIENTS = [Number(1, minor) for minor in (21, 22, 25, 27, 28, 29, 30, 31, 32, 33, 34, 35, 37, 38)]
DAEMONS = [Number(1, minor) for minor in (34, 35, 37, 38)]

PATH = StorePath.of("0" * 32 + "-x")

NAR = NarWriter().write_all(
    [Directory(), Entry(b"x"), Regular(executable=True, size=5), Data(b"bytes"), End(), End()]
)

WAIT = 5
"""Seconds after which a conversation counts as stuck."""


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Both ends of a connection."""
    ours, theirs = (trio.socket.from_stdlib_socket(each) for each in socket.socketpair())
    return trio.SocketStream(ours), trio.SocketStream(theirs)


class Told:
    """What the scripted daemon hears and says."""

    def __init__(self, offer: Number, features: frozenset[str]) -> None:
        self.connection = ServerConnection(newest=offer, features=features)
        self.asked: worker.Asked | None = None
        self.body = b""
        self.let_go = False
        self.answer: Callable[[], bytes] = bytes


async def serve(told: Told, stream: Any) -> None:
    connection = told.connection
    while True:
        event = connection.next_event()
        await stream.send_all(connection.to_send())
        match event:
            case worker.Greeted():
                await stream.send_all(connection.welcome("2.34.8", Trust.TRUSTED))
            case worker.Asked(operation=operation):
                told.asked = event
                if operation.body is Body.NONE:
                    await stream.send_all(told.answer())
            case worker.BodyData(data):
                told.body += data
            case worker.BodyEnd():
                await stream.send_all(told.answer())
            case worker.PeerClosed():
                return
            case None:
                connection.receive(bytes(await stream.receive_some(1 << 16)))


class Heard:
    """What the client hears."""

    def __init__(self) -> None:
        self.events: list[worker.ClientEvent] = []
        self.body = b""


async def ask(connection: ClientConnection, stream: Any, request: Any, body: bytes) -> Heard:
    heard = Heard()
    operation = request.operation
    await stream.send_all(connection.ask(request))
    if operation.body is not Body.NONE and not connection.pulls:
        await stream.send_all(connection.body(body))
        await stream.send_all(connection.body_end())
    while True:
        event = connection.next_event()
        match event:
            case None:
                connection.receive(bytes(await stream.receive_some(1 << 16)))
            case worker.Pull(size):
                await stream.send_all(connection.body(body[:size]))
                body = body[size:]
            case worker.ReplyData(data):
                heard.body += data
            case worker.Failed() | worker.ReplyEnd() | worker.PeerClosed():
                heard.events.append(event)
                return heard
            case worker.Replied() if operation.reply_body is Body.NONE:
                heard.events.append(event)
                return heard
            case _:
                heard.events.append(event)


async def greet(connection: ClientConnection, stream: Any) -> None:
    await stream.send_all(connection.hello())
    while not isinstance(connection.next_event(), worker.Welcomed):
        if said := connection.to_send():
            await stream.send_all(said)
        else:
            connection.receive(bytes(await stream.receive_some(1 << 16)))


async def converse(
    number: Number,
    told: Told,
    request: Any,
    body: bytes,
    upstream_features: frozenset[str] = frozenset(),
) -> Heard:
    """One request of a client of that version through the relay."""
    deadlines = Deadlines()
    connection = ServerConnection(newest=NEWEST)
    (ours, theirs), (up, down) = pair(), pair()
    client = Client(theirs, connection, deadlines)
    asking, served = ClientConnection(newest=number), trio.Event()
    async with ours, theirs, up, down:
        with trio.fail_after(WAIT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, told, down)
                upstream = Upstream(
                    "nix-daemon", up, ClientConnection(features=upstream_features), deadlines
                )
                await upstream.greet()

                async def daemon() -> None:
                    await client.event(WAIT)
                    await client.send(connection.welcome("2.34.8", Trust.NOT_TRUSTED))
                    asked = await client.event(WAIT)
                    assert isinstance(asked, worker.Asked)
                    lane = Lane(client, upstream, deadlines)
                    try:
                        await in_thread(partial(lane.relay, asked, lane.log), theirs.socket)
                    except ClientGone:
                        told.let_go = True
                    served.set()

                nursery.start_soon(daemon)
                await greet(asking, ours)
                heard = await ask(asking, ours, request, body)
                await served.wait()
                nursery.cancel_scope.cancel()
    return heard


def through(codec: Any, value: Any, dialect: Dialect) -> Any:
    """A value as it is after it was said in that dialect."""
    return codec.get(Source(codec.put(value, dialect)), dialect)


def contents(request: Any) -> bytes:
    match request.operation.body:
        case Body.NONE:
            return b""
        case Body.CONTENTS if request.addressing.is_flat:
            return b"the contents of a file"
        case Body.NAR | Body.CONTENTS:
            return NAR
        case _:
            return b"bytes of whatever kind"


ROWS = [
    row
    for row in REGISTRY.by_code.values()
    if any(row.exists(Dialect(number)) for number in CLIENTS) and row.name != "ImportPaths"
]
"""What has a meaning between any two versions; imports are pulled, and no peer may ask for them."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data(), number=st.sampled_from(CLIENTS), offer=st.sampled_from(DAEMONS))
def test_an_operation_arrives_and_is_answered_in_the_words_of_either_side(
    row: Any, data: st.DataObject, number: Number, offer: Number
) -> None:
    theirs, ours = Dialect(number), Dialect(min(offer, NEWEST))
    assume(row.exists(theirs))
    request = data.draw(requests(row, theirs))
    value = data.draw(replies(row, ours))
    body = contents(request)
    told = Told(offer, frozenset())
    reply_body = NAR if row.reply_body is not Body.NONE else b""

    def answer() -> bytes:
        said = told.connection.reply(value)
        if row.reply_body is not Body.NONE:
            said += told.connection.reply_body(reply_body) + told.connection.reply_body_end()
        return said

    told.answer = answer
    heard = trio.run(converse, number, told, request, body)
    *_, last = heard.events
    try:
        expected = through(row.layout, request, ours) if row.exists(ours) else None
        passed_on = through(row.reply, value, ours)
        if row.name == "BuildDerivation":
            passed_on = named(passed_on, request.derivation)
        answered = through(row.reply, passed_on, theirs)
    except LocalProtocolError:
        expected = None
    if expected is None:
        assert isinstance(last, worker.Failed)
        assert "nix-daemon" in last.error.message or "version" in last.error.message
        return
    assert told.asked is not None
    assert told.asked.request == expected
    assert told.body == body
    (replied,) = (event for event in heard.events if isinstance(event, worker.Replied))
    assert replied.value == answered
    assert heard.body == reply_body


@pytest.mark.parametrize("number", CLIENTS, ids=str)
def test_logs_and_errors_arrive_as_they_were_said(number: Number) -> None:
    @settings(max_examples=10, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.lists(log_messages(Dialect(Number(1, 21))), max_size=8))
    def check(said: list[LogMessage]) -> None:
        told = Told(Number(1, 38), frozenset())
        error = NixError("it did not go well", traces=("while trying",))

        def answer() -> bytes:
            return b"".join(map(told.connection.log, said)) + told.connection.fail(error)

        told.answer = answer
        heard = trio.run(converse, number, told, QueryPathInfo(PATH), b"")
        assert [each.message for each in heard.events if isinstance(each, worker.Logged)] == said
        last = heard.events[-1]
        assert isinstance(last, worker.Failed)
        assert last.error.message == error.message
        if number >= Number(1, 26):
            assert last.error == error

    check()


def test_realisations_are_not_asked_of_a_daemon_that_would_lose_its_place() -> None:
    told = Told(Number(1, 38), FEATURES)
    identity = "sha256:" + "0" * 64 + "!out"
    heard = trio.run(
        converse, Number(1, 38), told, QueryRealisation(DrvOutput.parse(identity)), b""
    )
    (failed,) = heard.events
    assert isinstance(failed, worker.Failed)
    assert PATH_NOT_HASH in failed.error.message
    assert told.asked is None


def test_a_client_up_to_2_22_is_let_go_when_a_nar_fails() -> None:
    told = Told(Number(1, 38), frozenset())
    told.answer = lambda: told.connection.fail(NixError("no such path"))

    async def play() -> list[worker.ClientEvent]:
        return (await converse(Number(1, 35), told, NarFromPath(PATH), b"")).events

    (failed,) = trio.run(play)
    assert isinstance(failed, worker.Failed)
    assert told.let_go
