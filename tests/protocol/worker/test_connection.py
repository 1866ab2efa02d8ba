"""Both ends wired to each other: what one says arrives at the other, at every version."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError, UnknownOperation
from protocol.limits import MAX_AHEAD
from protocol.store.content_address import Method
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.realisation import DrvOutputByPath
from protocol.version import Dialect, Number
from protocol.wire.bodies import EXPORT_MAGIC
from protocol.wire.source import WORD
from protocol.worker import forms, handshake, stderr
from protocol.worker.client import ClientConnection
from protocol.worker.events import (
    Asked,
    BodyData,
    BodyEnd,
    ClientEvent,
    Failed,
    Greeted,
    Logged,
    PeerClosed,
    Pull,
    Replied,
    ReplyData,
    ReplyEnd,
    ServerEvent,
    Welcomed,
)
from protocol.worker.handshake import Trust
from protocol.worker.messages import (
    AddBuildLog,
    AddMultipleToStore,
    Addressing,
    AddToStore,
    AddToStoreNar,
    BuildPathsWithResults,
    ExportPath,
    ImportPaths,
    IsValidPath,
    NarFromPath,
    QueryAllValidPaths,
    QueryPathInfo,
    QueryRealisation,
)
from protocol.worker.results import Added
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import LogMessage, Next, NixError, StartActivity
from protocol.worker.versions import FEATURES, NEWEST, OLDEST
from tests.support.worker import Pair

PATH = StorePath.parse(f"/nix/store/{'0' * 32}-foo")
DRV = StorePath.parse(f"/nix/store/{'1' * 32}-foo.drv")
CONTENTS = b"hello, world\n" * 9000
NAR = forms.flat_nar(CONTENTS)
INFO = PathInfo(nar_hash=Hash.of(NAR), nar_size=len(NAR), references=frozenset({PATH}))

VERSIONS = [Number(1, minor) for minor in range(OLDEST.minor, NEWEST.minor + 1)]


def introduce(
    client: Number = NEWEST,
    server: Number = NEWEST,
    features: frozenset[str] = frozenset(),
    offered: frozenset[str] = frozenset(),
) -> Pair:
    pair = Pair(
        ClientConnection(newest=client, features=features),
        ServerConnection(newest=server, features=offered),
    )
    pair.to_server(pair.client.hello())
    return pair


def greet(client: Number = NEWEST, server: Number = NEWEST) -> Pair:
    pair = introduce(client, server)
    pair.to_client(pair.server.welcome("2.26.3", Trust.NOT_TRUSTED))
    pair.take_asked()
    pair.take_heard()
    return pair


@pytest.fixture(params=VERSIONS, ids=str)
def pair(request: pytest.FixtureRequest) -> Pair:
    return greet(server=request.param)


def data_of(events: list[ServerEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, BodyData))


def send_body(pair: Pair, body: bytes) -> list[ServerEvent]:
    """Send a body in the way the version wants it; what the server saw of it."""
    if forms.form(pair.client._operation.body, pair.client.dialect) is not forms.Form.PULLED:  # type: ignore[union-attr] # one is under way
        pair.to_server(pair.client.body(body[:1000]))
        pair.to_server(pair.client.body(body[1000:]))
        pair.to_server(pair.client.body_end())
        return pair.take_asked()
    seen: list[ServerEvent] = []
    while pulls := [event for event in pair.take_heard() if isinstance(event, Pull)]:
        (pull,) = pulls
        piece, body = body[: min(pull.size, 5000)], body[min(pull.size, 5000) :]
        pair.to_server(pair.client.body(piece))
        seen += pair.take_asked()
    assert not body
    assert pair.client.body_end() == b""
    return seen


class TestHandshake:
    @pytest.mark.parametrize("client", VERSIONS, ids=str)
    @pytest.mark.parametrize("server", [*VERSIONS[::4], NEWEST], ids=str)
    def test_the_older_number_is_spoken(self, client: Number, server: Number) -> None:
        pair = introduce(client, server)
        number = min(client, server)
        assert pair.take_asked() == [Greeted(Dialect(number))]
        pair.to_client(pair.server.welcome("2.26.3", Trust.TRUSTED))
        assert pair.take_heard() == [
            Welcomed(
                Dialect(number),
                "2.26.3" if number >= Number(1, 33) else "",
                Trust.TRUSTED if number >= Number(1, 35) else Trust.UNKNOWN,
            )
        ]

    def test_features_of_both_are_spoken(self) -> None:
        pair = introduce(features=FEATURES, offered=frozenset({min(FEATURES), "unheard-of"}))
        assert pair.server.dialect.features == {min(FEATURES)}
        assert pair.client.dialect == pair.server.dialect

    def test_features_are_not_spoken_below_1_38(self) -> None:
        pair = introduce(server=Number(1, 37), features=FEATURES, offered=FEATURES)
        assert pair.server.dialect == Dialect(Number(1, 37))

    def test_newer_peers_than_any_are_spoken_to(self) -> None:
        assert introduce(client=Number(1, 99)).server.dialect == Dialect(NEWEST)

    def test_the_server_answers_the_magic_before_it_knows_the_version(self) -> None:
        server = ServerConnection()
        server.receive(WORD.pack(handshake.CLIENT_MAGIC))
        assert server.next_event() is None
        assert server.to_send() == WORD.pack(handshake.SERVER_MAGIC) + WORD.pack(0x126)

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            pytest.param(Number(1, 21), [0x115, 1, 3, 0], id="2.3 pins itself to a CPU"),
            pytest.param(Number(1, 37), [0x125, 0x125, 0, 0], id="2.23 sends its version twice"),
            pytest.param(Number(1, 34), [0x122, 0, 0], id="2.8"),
        ],
    )
    def test_clients_of_old_are_understood(self, number: Number, words: list[int]) -> None:
        server = ServerConnection()
        server.receive(b"".join(map(WORD.pack, [handshake.CLIENT_MAGIC, *words])))
        assert server.next_event() == Greeted(Dialect(number))
        server.welcome("2.26.3", Trust.TRUSTED)
        server.receive(WORD.pack(23))
        assert isinstance(asked := server.next_event(), Asked)
        assert asked.request == QueryAllValidPaths()

    @pytest.mark.parametrize(
        "said", [b"Welcome to host!\n", WORD.pack(0x6478696F) + WORD.pack(0x205)]
    )
    def test_what_is_no_daemon_is_refused(self, said: bytes) -> None:
        client = ClientConnection()
        client.receive(said)
        with pytest.raises(RemoteProtocolError, match=r"Welcome to host|2\.5 is not supported"):
            client.next_event()

    def test_too_old_a_client_is_told_nothing(self) -> None:
        server = ServerConnection()
        server.receive(WORD.pack(handshake.CLIENT_MAGIC) + WORD.pack(0x110))
        server.to_send()
        with pytest.raises(RemoteProtocolError, match=r"1\.16"):
            server.next_event()
        assert server.to_send() == WORD.pack(handshake.SERVER_MAGIC) + WORD.pack(NEWEST.word)
        assert server.must_close

    def test_a_refused_client_hears_why(self) -> None:
        pair = introduce()
        pair.to_client(pair.server.refuse("no room"))
        (failed,) = pair.take_heard()
        assert failed == Failed(NixError("no room"))
        assert pair.client.must_close
        assert pair.server.must_close

    def test_a_handshake_is_limited(self) -> None:
        server = ServerConnection()
        words = [handshake.CLIENT_MAGIC, NEWEST.word, 1, 1 << 20]
        server.receive(b"".join(map(WORD.pack, words)))
        with pytest.raises(RemoteProtocolError):
            server.next_event()

    def test_leaving_before_greeting_is_no_fault(self) -> None:
        server = ServerConnection()
        server.receive(b"")
        assert server.next_event() == PeerClosed()


class TestOperations:
    def test_an_answer_arrives(self, pair: Pair) -> None:
        pair.to_server(pair.client.ask(IsValidPath(PATH)))
        (asked,) = pair.take_asked()
        assert asked == Asked(IsValidPath(PATH), IsValidPath.operation)
        pair.to_client(pair.server.reply(value=True))
        assert pair.take_heard() == [Replied(value=True)]

    def test_an_error_arrives_and_the_connection_goes_on(self, pair: Pair) -> None:
        pair.to_server(pair.client.ask(QueryPathInfo(PATH)))
        pair.to_client(pair.server.fail_with("out of luck"))
        assert pair.take_heard() == [Failed(NixError("out of luck"))]
        self.test_an_answer_arrives_after(pair)

    def test_an_answer_arrives_after(self, pair: Pair) -> None:
        pair.take_asked()
        self.test_an_answer_arrives(pair)

    def test_log_messages_arrive_before_the_answer(self, pair: Pair) -> None:
        pair.to_server(pair.client.ask(IsValidPath(PATH)))
        messages: list[LogMessage] = [
            Next("hello\n"),
            StartActivity(7, 3, 105, "building", (PATH, 1), 0),
        ]
        for message in messages:
            pair.to_client(pair.server.log(message))
        pair.to_client(pair.server.reply(value=False))
        assert pair.take_heard() == [
            *[Logged(message) for message in messages],
            Replied(value=False),
        ]

    def test_a_nar_goes_up(self, pair: Pair) -> None:
        pair.to_server(pair.client.ask(AddToStoreNar(PATH, INFO)))
        pair_events = pair.take_asked()
        assert [type(event) for event in pair_events] == [Asked]
        events = send_body(pair, NAR)
        assert data_of(events) == NAR
        assert events[-1] == BodyEnd()
        pair.to_client(pair.server.reply(None))
        assert pair.take_heard()[-1] == Replied(None)
        self.test_an_answer_arrives_after(pair)

    @pytest.mark.parametrize(
        ("addressing", "body"),
        [(Addressing(Method.FLAT), CONTENTS), (Addressing(Method.NAR), NAR)],
    )
    def test_contents_go_up(self, pair: Pair, addressing: Addressing, body: bytes) -> None:
        pair.to_server(pair.client.ask(AddToStore("foo", addressing)))
        events = [*pair.take_asked(), *send_body(pair, body)]
        assert data_of(events) == body
        assert events[-1] == BodyEnd()
        pair.to_client(pair.server.reply(Added(PATH, INFO)))
        known = INFO if pair.server.dialect.number >= Number(1, 25) else None
        assert pair.take_heard() == [Replied(Added(PATH, known))]

    def test_an_export_goes_up(self, pair: Pair) -> None:
        stream = b"".join([WORD.pack(1), NAR, trailer(), WORD.pack(1), NAR, trailer(), bytes(8)])
        pair.to_server(pair.client.ask(ImportPaths()))
        pair.take_asked()
        assert data_of(send_body(pair, stream)) == stream
        pair.to_client(pair.server.reply(frozenset({PATH})))
        assert pair.take_heard()[-1] == Replied(frozenset({PATH}))

    def test_an_export_comes_down(self, pair: Pair) -> None:
        pair.to_server(pair.client.ask(ExportPath(PATH)))
        pair.to_client(pair.server.reply(None))
        pair.to_client(pair.server.reply_body(NAR[:50]))
        pair.to_client(pair.server.reply_body(NAR[50:]))
        pair.to_client(pair.server.reply_body_end())
        assert pair.take_heard() == [
            Replied(None),
            ReplyData(NAR[:50]),
            ReplyData(NAR[50:]),
            ReplyEnd(),
        ]

    def test_a_nar_comes_down(self, pair: Pair) -> None:
        pair.to_server(pair.client.ask(NarFromPath(PATH)))
        pair.to_client(pair.server.reply(None))
        pair.to_client(pair.server.reply_body(NAR), sizes=[7, 100, 3, 1000])
        pair.server.reply_body_end()
        first, *pieces, last = pair.take_heard()
        assert (first, last) == (Replied(None), ReplyEnd())
        assert b"".join(piece.data for piece in pieces if isinstance(piece, ReplyData)) == NAR
        self.test_an_answer_arrives_after(pair)

    def test_an_upload_may_fail_in_its_middle(self, pair: Pair) -> None:
        pair.to_server(pair.client.ask(AddToStoreNar(PATH, INFO)))
        pair.take_asked()
        pair.to_server(pair.client.body(NAR[:1000]))
        pair.to_client(pair.server.fail_with("disk full"))
        # A body that is pulled goes on with one more piece, which was asked for before the fault.
        pair.to_server(pair.client.body(NAR[1000:2000]))
        pair.to_server(pair.client.body(NAR[2000:]))
        pair.to_server(pair.client.body_end())
        assert Failed(NixError("disk full")) in pair.take_heard()
        self.test_an_answer_arrives_after(pair)


def trailer() -> bytes:
    def padded(data: bytes) -> bytes:
        return WORD.pack(len(data)) + data + bytes(-len(data) % 8)

    path = padded(PATH.encode())
    return b"".join([WORD.pack(EXPORT_MAGIC), path, WORD.pack(1), path, padded(b""), bytes(8)])


class TestFaults:
    def test_an_unknown_operation_ends_the_connection_with_an_error(self) -> None:
        pair = greet()
        pair.server.receive(WORD.pack(4711))
        with pytest.raises(UnknownOperation, match="invalid operation 4711"):
            pair.server.next_event()
        pair.client.ask(IsValidPath(PATH))
        pair.client.receive(pair.server.to_send())
        assert pair.client.next_event() == Failed(NixError("invalid operation 4711"))
        assert pair.server.must_close

    def test_the_error_is_also_had_by_failing(self) -> None:
        server = greet().server
        server.receive(WORD.pack(4711))
        with pytest.raises(UnknownOperation):
            server.next_event()
        assert b"invalid operation" in server.fail_with("whatever the session thinks of it")
        assert server.to_send() == b""

    def test_an_operation_of_later_versions_is_unknown(self) -> None:
        server = greet(client=Number(1, 33)).server
        server.receive(WORD.pack(46))
        with pytest.raises(UnknownOperation, match="BuildPathsWithResults"):
            server.next_event()

    def test_and_cannot_be_asked(self) -> None:
        client = greet(server=Number(1, 33)).client
        with pytest.raises(LocalProtocolError, match="BuildPathsWithResults"):
            client.ask(BuildPathsWithResults(()))

    def test_outputs_named_the_other_way_cannot_be_asked_about(self) -> None:
        asked = QueryRealisation(DrvOutputByPath(DRV, "out"))
        with pytest.raises(LocalProtocolError, match=r"1\.38 has no form for a DrvOutputByPath"):
            greet().client.ask(asked)

    def test_a_bad_request_names_its_field(self) -> None:
        pair = greet()
        bad = pair.client.ask(IsValidPath(PATH)).replace(b"-foo", b"/foo")
        pair.server.receive(bad)
        with pytest.raises(RemoteProtocolError, match=r"^IsValidPath\.path: "):
            pair.server.next_event()

    def test_a_request_cut_short_names_its_field(self) -> None:
        pair = greet()
        pair.server.receive(pair.client.ask(AddToStoreNar(PATH, INFO))[:200])
        pair.server.receive(b"")
        with pytest.raises(RemoteProtocolError, match=r"^AddToStoreNar\.info\.\w+"):
            pair.server.next_event()

    def test_a_request_is_limited(self) -> None:
        server = ServerConnection(max_request=1000)
        pair = Pair(ClientConnection(), server)
        pair.to_server(pair.client.hello())
        pair.to_client(server.welcome("2.26.3", Trust.TRUSTED))
        server.receive(WORD.pack(29) + WORD.pack(5000) + b"x" * 100)
        with pytest.raises(RemoteProtocolError, match="at most 1000"):
            server.next_event()

    def test_an_upload_of_any_size_passes_the_limit(self) -> None:
        server = ServerConnection(max_request=1000)
        pair = Pair(ClientConnection(), server)
        pair.to_server(pair.client.hello())
        pair.to_client(server.welcome("2.26.3", Trust.TRUSTED))
        pair.to_server(pair.client.ask(AddBuildLog(DRV)))
        for _ in range(10):
            pair.to_server(pair.client.body(b"x" * 999), sizes=[11, 500])
        pair.to_server(pair.client.body_end(), sizes=[3])
        assert data_of(pair.take_asked()) == b"x" * 9990

    def test_talking_out_of_turn_is_limited(self) -> None:
        pair = greet()
        pair.to_server(pair.client.ask(IsValidPath(PATH)))
        pair.server.receive(bytes(MAX_AHEAD + 1))
        with pytest.raises(RemoteProtocolError, match="out of turn"):
            pair.server.receive(b"x")

    def test_what_comes_early_is_kept(self) -> None:
        pair = greet()
        request = pair.client.ask(IsValidPath(PATH))
        pair.server.receive(request + request)
        assert isinstance(pair.server.next_event(), Asked)
        assert pair.server.next_event() is None
        pair.server.reply(value=True)
        assert isinstance(pair.server.next_event(), Asked)

    def test_a_client_may_leave_between_requests_and_during_an_answer(self) -> None:
        pair = greet()
        pair.to_server(pair.client.ask(IsValidPath(PATH)))
        pair.server.receive(b"")
        assert pair.server.is_closed
        assert pair.server.next_event() == PeerClosed()

    def test_a_client_may_not_leave_within_a_body(self) -> None:
        pair = greet()
        pair.to_server(pair.client.ask(AddBuildLog(DRV)))
        pair.to_server(pair.client.body(b"half a l"))
        pair.server.receive(b"")
        with pytest.raises(RemoteProtocolError, match="ended"):
            pair.server.next_event()

    def test_a_framed_request_is_not_answered_early(self) -> None:
        pair = greet()
        pair.to_server(pair.client.ask(AddMultipleToStore()))
        with pytest.raises(LocalProtocolError):
            pair.server.reply(None)

    def test_a_server_that_answers_early_is_caught(self) -> None:
        pair = greet()
        pair.client.ask(AddMultipleToStore())
        pair.client.receive(WORD.pack(stderr.LAST))
        with pytest.raises(RemoteProtocolError, match="before its body"):
            pair.client.next_event()

    def test_a_body_that_is_not_wanted_is_not_pulled(self) -> None:
        pair = greet(server=Number(1, 21))
        pair.server.receive(pair.client.ask(AddToStoreNar(PATH, INFO)))
        assert isinstance(pair.server.next_event(), Asked)
        pair.to_client(pair.server.reply(None))
        assert pair.take_heard() == [Replied(None)]
        assert pair.client.body(NAR) == b""

    def test_an_empty_piece_is_refused(self) -> None:
        pair = greet(server=Number(1, 21))
        pair.to_server(pair.client.ask(AddToStoreNar(PATH, INFO)))
        pair.server.receive(bytes(8))
        with pytest.raises(RemoteProtocolError, match="ends in its middle"):
            pair.server.next_event()

    def test_an_error_in_place_of_a_nar_is_understood(self) -> None:
        pair = greet()
        pair.to_server(pair.client.ask(NarFromPath(PATH)))
        pair.to_client(pair.server.reply(None))
        pair.to_client(pair.server.fail_with("unreadable"))
        assert pair.take_heard() == [Replied(None), Failed(NixError("unreadable"))]
        assert pair.client.must_close
        assert pair.server.must_close

    @pytest.mark.parametrize(("number", "closes"), [(Number(1, 37), True), (NEWEST, False)])
    def test_who_overlooks_errors_before_nars_is_let_go(self, number: Number, closes: bool) -> None:
        pair = greet(client=number)
        pair.to_server(pair.client.ask(NarFromPath(PATH)))
        pair.to_client(pair.server.fail_with("no such path"))
        assert pair.server.must_close is closes

    def test_a_file_is_flat_or_refused(self) -> None:
        pair = greet(server=Number(1, 21))
        pair.to_server(pair.client.ask(AddToStore("foo", Addressing(Method.FLAT))))
        directory = NAR[:24] + b"".join(
            WORD.pack(len(word)) + word + bytes(-len(word) % 8)
            for word in [b"(", b"type", b"directory", b")"]
        )
        pair.server.receive(directory)
        with pytest.raises(RemoteProtocolError, match="not a file"):
            pair.server.next_event()

    def test_after_a_fault_nothing_is_read(self) -> None:
        server = greet().server
        server.receive(WORD.pack(4711))
        for _ in range(2):
            with pytest.raises(UnknownOperation):
                server.next_event()


class TestTurns:
    def test_only_what_was_asked_is_answered(self) -> None:
        pair = greet()
        acts: list[Callable[[], bytes]] = [
            lambda: pair.server.reply(None),
            lambda: pair.server.fail_with(""),
            lambda: pair.server.log(Next("")),
            lambda: pair.server.reply_body(b""),
            lambda: pair.server.welcome("", Trust.TRUSTED),
            lambda: pair.client.body(b"x"),
        ]
        for act in acts:
            with pytest.raises(LocalProtocolError):
                act()

    def test_one_request_at_a_time(self) -> None:
        client = greet().client
        client.ask(IsValidPath(PATH))
        with pytest.raises(LocalProtocolError):
            client.ask(IsValidPath(PATH))

    def test_a_body_is_ended_before_the_next_request(self) -> None:
        pair = greet()
        pair.to_server(pair.client.ask(AddBuildLog(DRV)))
        pair.to_client(pair.server.fail_with("no"))
        with pytest.raises(LocalProtocolError):
            pair.client.ask(IsValidPath(PATH))
        assert pair.client.body(b"unwanted") == b""
        assert pair.client.body_end() == bytes(8)
        pair.client.ask(IsValidPath(PATH))


def hang(end: ServerConnection | ClientConnection) -> Iterator[ServerEvent | ClientEvent]:
    while (event := end.next_event()) is not None:
        yield event
        if isinstance(event, PeerClosed):
            return


@given(st.binary(max_size=300), st.integers(1, 64), st.booleans())
@settings(max_examples=300)
def test_junk_is_an_event_or_a_protocol_error(junk: bytes, size: int, greeted: bool) -> None:
    server = greet().server if greeted else ServerConnection()
    client = greet().client if greeted else ClientConnection()
    if greeted:
        client.ask(QueryPathInfo(PATH))
    for end in (server, client):
        try:
            for at in range(0, len(junk), size):
                end.receive(junk[at : at + size])
                list(hang(end))
            end.receive(b"")
            list(hang(end))
        except RemoteProtocolError:
            assert end.must_close
