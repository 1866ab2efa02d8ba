"""Both ends wired to each other; what real programs say is in `tests/protocol/transcript`."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import (
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
    UnknownOperation,
)
from protocol.nar.format import CLOSE, MAGIC, REGULAR
from protocol.serve import messages
from protocol.serve.connection import CLIENT_MAGIC, SERVER_MAGIC, ClientConnection, ServerConnection
from protocol.serve.events import (
    Asked,
    BodyData,
    BodyEnd,
    Greeted,
    PeerClosed,
    Replied,
    ReplyData,
    ReplyEnd,
)
from protocol.serve.values import NEWEST, BuildOptions, BuildPathsResult
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Number

PATH = StorePath.parse("/nix/store/00000000000000000000000000000000-a")
NAR = MAGIC + REGULAR + (3).to_bytes(8, "little") + b"abc" + bytes(5) + CLOSE
INFO = PathInfo(nar_hash=Hash(HashAlgorithm.SHA256, bytes(32)), nar_size=len(NAR))
EXPORT = (
    (1).to_bytes(8, "little")
    + NAR
    + b"NIXE"
    + bytes(4)
    + len(PATH).to_bytes(8, "little")
    + PATH.encode()
    + bytes(-len(PATH) % 8)
    + bytes(24)
    + bytes(8)
)


def events(connection: Any) -> Iterator[Any]:
    while (event := connection.next_event()) is not None:
        yield event
        if isinstance(event, PeerClosed):
            return


def feed(connection: Any, data: bytes, step: int = 1 << 20) -> list[Any]:
    """All events of some bytes, those of bodies joined."""
    heard: list[Any] = []
    for start in range(0, len(data), step):
        connection.receive(data[start : start + step])
        for event in events(connection):
            last = heard[-1] if heard else None
            if isinstance(event, BodyData | ReplyData) and isinstance(last, type(event)):
                heard[-1] = type(event)(last.data + event.data)
            else:
                heard.append(event)
    return heard


def pair(client: Number = NEWEST, server: Number = NEWEST) -> tuple[Any, Any]:
    ours, theirs = ClientConnection(newest=client), ServerConnection(newest=server)
    assert [type(event) for event in feed(theirs, ours.hello())] == [Greeted]
    assert [type(event) for event in feed(ours, theirs.to_send())] == [Greeted]
    return ours, theirs


@pytest.mark.parametrize("client", [Number(2, minor) for minor in range(9)], ids=str)
@pytest.mark.parametrize("server", [Number(2, 0), Number(2, 5), Number(2, 8), Number(2, 99)])
def test_the_lower_version_is_spoken(client: Number, server: Number) -> None:
    ours, theirs = pair(client, server)
    assert ours.dialect == theirs.dialect
    assert ours.dialect.number == min(client, server)


def test_the_server_greets_before_it_knows_the_client_s_version() -> None:
    server = ServerConnection()
    assert feed(server, CLIENT_MAGIC.to_bytes(8, "little")) == []
    assert server.to_send() == SERVER_MAGIC.to_bytes(8, "little") + (0x208).to_bytes(8, "little")


@given(st.integers(1, 40))
def test_a_question_gets_its_answer(step: int) -> None:
    client, server = pair()
    request = messages.QueryValidPaths(lock=False, substitute=True, paths=frozenset({PATH}))
    (asked,) = feed(server, client.ask(request), step)
    assert asked == Asked(request, request.operation)
    assert feed(client, server.reply(frozenset({PATH})), step) == [Replied(frozenset({PATH}))]


@given(st.integers(1, 40))
def test_a_nar_is_taken_by_its_size(step: int) -> None:
    client, server = pair()
    request = messages.AddToStoreNar.of(PATH, INFO)
    sent = client.ask(request) + client.body(NAR) + client.body_end()
    assert feed(server, sent, step) == [Asked(request, request.operation), BodyData(NAR), BodyEnd()]
    assert feed(client, server.reply(None), step) == [Replied(None)]
    assert request.info == INFO


@given(st.integers(1, 40))
def test_an_import_ends_where_its_grammar_says(step: int) -> None:
    client, server = pair()
    sent = client.ask(messages.ImportPaths()) + client.body(EXPORT) + client.body_end()
    assert feed(server, sent, step)[1:] == [BodyData(EXPORT), BodyEnd()]


@pytest.mark.parametrize(
    ("request_", "data"),
    [(messages.DumpStorePath(PATH), NAR), (messages.ExportPaths(0, (PATH,)), EXPORT)],
)
@given(step=st.integers(1, 40))
def test_replies_with_a_body_end_where_their_grammar_says(
    request_: Any, data: bytes, step: int
) -> None:
    client, server = pair()
    feed(server, client.ask(request_))
    sent = server.reply(None) + server.reply_body(data) + server.reply_body_end()
    assert feed(client, sent, step) == [Replied(None), ReplyData(data), ReplyEnd()]
    assert client.ask(messages.QueryClosure(include_outputs=False, paths=frozenset()))


def test_a_failed_command_is_the_end() -> None:
    client, server = pair()
    feed(server, client.ask(messages.DumpStorePath(PATH)))
    assert server.fail() == b""
    assert server.must_close
    client.receive(b"")
    assert client.next_event() == PeerClosed()


def test_a_client_may_leave_between_commands_and_while_it_waits() -> None:
    for asks in (False, True):
        client, server = pair()
        if asks:
            feed(server, client.ask(messages.DumpStorePath(PATH)))
        server.receive(b"")
        assert server.next_event() == PeerClosed()


@pytest.mark.parametrize("missing", [1, 8, len(NAR) - 1, len(NAR) + 3])
def test_a_client_may_not_leave_in_the_middle(missing: int) -> None:
    client, server = pair()
    sent = client.ask(messages.AddToStoreNar.of(PATH, INFO)) + client.body(NAR)
    feed(server, sent[:-missing])
    server.receive(b"")
    with pytest.raises(RemoteProtocolError, match="middle of a value"):
        server.next_event()


def test_the_message_that_clients_leave_unread_is_noticed() -> None:
    client, server = pair()
    feed(server, client.ask(messages.BuildPaths((), BuildOptions())))
    reply = server.reply(BuildPathsResult(1, "error"))
    assert feed(client, reply) == [Replied(BuildPathsResult(1, "error"))]
    feed(server, client.ask(messages.BuildPaths((), BuildOptions())))
    feed(client, server.reply(BuildPathsResult()) + b"leftover")
    with pytest.raises(RemoteProtocolError, match="8 bytes are left over"):
        client.ask(messages.BuildPaths((), BuildOptions()))


def test_a_banner_is_shown_to_the_user() -> None:
    client = ClientConnection()
    with pytest.raises(RemoteProtocolError, match="it says `Welcome to the board"):
        feed(client, b"Welcome to the board!\n")


@pytest.mark.parametrize(
    ("data", "error", "complaint"),
    [
        (b"GET / HTTP/1.1\r\n", RemoteProtocolError, "no client of the serve protocol"),
        (
            CLIENT_MAGIC.to_bytes(8, "little") + (0x107).to_bytes(8, "little"),
            RemoteProtocolError,
            "1.7 is not supported",
        ),
    ],
)
def test_what_is_no_client_is_refused(data: bytes, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        feed(ServerConnection(), data)


def test_unknown_and_newer_commands_are_refused() -> None:
    _, server = pair()
    with pytest.raises(UnknownOperation, match="10"):
        feed(server, (10).to_bytes(8, "little"))
    _, server = pair(client=Number(2, 4))
    with pytest.raises(UnknownOperation, match="AddToStoreNar"):
        feed(server, (9).to_bytes(8, "little"))
    client, _ = pair(server=Number(2, 4))
    with pytest.raises(LocalProtocolError, match=r"does not exist in 2\.4"):
        client.ask(messages.AddToStoreNar.of(PATH, INFO))


def test_a_nar_of_no_bytes_is_refused() -> None:
    client, server = pair()
    empty = messages.AddToStoreNar.of(PATH, PathInfo(nar_hash=INFO.nar_hash))
    with pytest.raises(LocalProtocolError, match="0 bytes"):
        client.ask(empty)
    data = (9).to_bytes(8, "little") + empty.operation.layout.put(empty, server.dialect)
    with pytest.raises(RemoteProtocolError, match=r"AddToStoreNar: .*0 bytes"):
        feed(server, data)


def test_a_nar_is_of_the_size_that_was_announced() -> None:
    client, _ = pair()
    client.ask(messages.AddToStoreNar.of(PATH, INFO))
    client.body(NAR[:-1])
    with pytest.raises(LocalProtocolError, match="smaller"):
        client.body_end()
    with pytest.raises(LocalProtocolError, match="larger"):
        client.body(b"ab")


def test_nobody_speaks_out_of_turn() -> None:
    client, server = pair()
    with pytest.raises(LocalProtocolError, match="reply"):
        server.reply(None)
    with pytest.raises(LocalProtocolError, match="body"):
        client.body(b"x")
    client.ask(messages.DumpStorePath(PATH))
    with pytest.raises(LocalProtocolError, match="ask"):
        client.ask(messages.DumpStorePath(PATH))


def test_a_request_is_not_held_beyond_its_limit() -> None:
    client = ClientConnection()
    server = ServerConnection(max_request=1000)
    feed(server, client.hello())
    feed(client, server.to_send())
    paths = frozenset(StorePath(f"/nix/store/{index:032}-a") for index in range(50))
    with pytest.raises(LimitExceeded):
        feed(server, client.ask(messages.QueryPathInfos(paths)), 64)


def test_a_client_that_does_not_wait_is_stopped() -> None:
    client, server = pair()
    feed(server, client.ask(messages.DumpStorePath(PATH)))
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        feed(server, bytes(4 << 20), 1 << 16)


@given(st.lists(st.binary(max_size=80), max_size=8), st.booleans())
def test_junk_never_raises_anything_but_a_protocol_error(junk: list[bytes], asks: bool) -> None:
    client, server = pair()
    if asks:
        feed(server, client.ask(messages.QueryPathInfos(frozenset({PATH}))))
    for connection in (client, server):
        with suppress(RemoteProtocolError):
            for piece in junk:
                feed(connection, piece)
