"""Who is there: by the socket's credentials, and by a preamble from those who may send one."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from protocol.version import Number
from protocol.worker import handshake
from protocol.worker.client import ClientConnection
from protocol.worker.events import Failed
from shim.channels import Channel, Frames
from shim.config import Config, Domain, NixStore, Peer
from shim.daemon.clients.admission import TRY_AGAIN, identify, turn_away
from shim.daemon.clients.who import Who
from shim.preamble import BadPreamble, Preamble, Speaks
from shim.session.routes import Standing

UID = os.getuid()
OTHER = UID + 1
CONFIG = Config(
    serving=NixStore(Path("/serve")),
    domains={"guests": Domain(NixStore(Path("/guests")))},
    peers={"visitor": Peer(domain="guests")},
    operators=(OTHER,),
    preamble_users=(OTHER,),
)
OPERATOR = replace(CONFIG, operators=(UID,))
SPEAKER = replace(CONFIG, preamble_users=(UID,))

NIX = handshake.CLIENT_MAGIC.to_bytes(8, "little")


def who(config: Config, sent: bytes) -> Who:
    async def scene() -> Who:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(sent)
            theirs.shutdown(socket.SHUT_WR)
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
                found, head = await identify(stream, config)
        assert head == (sent[:8] if sent[:8] == NIX else b"")
        return found

    return trio.run(scene)


def test_a_local_user_is_a_peer_of_the_default_domain() -> None:
    assert who(CONFIG, NIX) == Who(f"uid {UID}", Standing.PEER)


def test_an_operator_is_known_by_its_number() -> None:
    assert who(OPERATOR, NIX) == Who(f"uid {UID}", Standing.OPERATOR)


def test_a_preamble_names_the_peer_and_so_its_domain() -> None:
    said = Preamble("visitor", Speaks.COMMAND, ("nix-store",), tells_endings=True)
    assert who(SPEAKER, said.render()) == Who(
        "visitor", Standing.PEER, "guests", Speaks.COMMAND, ("nix-store",), tells_endings=True
    )


@pytest.mark.parametrize("config", [CONFIG, OPERATOR])
def test_only_named_users_speak_for_others(config: Config) -> None:
    with pytest.raises(BadPreamble, match=f"uid {UID} may not speak for others"):
        who(config, Preamble("visitor").render())


def test_only_operators_look_at_the_daemon() -> None:
    asked = Preamble("visitor", Speaks.CONTROL).render()
    found = who(OPERATOR, asked)
    assert found == Who(f"uid {UID}", Standing.OPERATOR, speaks=Speaks.CONTROL)
    with pytest.raises(BadPreamble, match="no operator"):
        who(SPEAKER, asked)


@pytest.mark.parametrize("sent", [b"", NIX[:5], Preamble("visitor").render()[:20]])
def test_who_closes_before_it_has_said_enough_is_nobody(sent: bytes) -> None:
    with pytest.raises(trio.BrokenResourceError):
        who(SPEAKER, sent)


def turned_away(found: Who, sent: bytes) -> bytes:
    """What somebody hears who is turned away."""

    async def scene() -> bytes:
        ours, theirs = socket.socketpair()
        received = b""
        async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as there:
            await there.send_all(sent)
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
                await turn_away(stream, found, b"", "no room here", CONFIG)
            while data := await there.receive_some():
                received += data
        return received

    return trio.run(scene)


def test_nix_clients_are_told_in_the_handshake() -> None:
    connection = ClientConnection(newest=Number(1, 37))
    # Everything that such a client says until it is answered, in one go.
    sent = connection.hello() + bytes(16)
    connection.receive(turned_away(Who("visitor", Standing.PEER), sent))
    while (event := connection.next_event()) is None:
        pass
    assert isinstance(event, Failed)
    assert event.error.message == "no room here"


@pytest.mark.parametrize("speaks", [Speaks.SERVE, Speaks.COMMAND])
def test_others_are_told_on_standard_error(speaks: Speaks) -> None:
    frames = Frames()
    found = list(frames.feed(turned_away(Who("visitor", Standing.PEER, speaks=speaks), b"")))
    assert found == [
        (Channel.STDERR, b"nix-shim: no room here\n"),
        (Channel.EXIT, bytes([TRY_AGAIN])),
    ]
