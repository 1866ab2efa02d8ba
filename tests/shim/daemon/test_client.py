"""How a client ends: it leaves, or it vanished, and whoever works for it is told which."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from protocol.worker.server import ServerConnection
from shim.config import Deadlines
from shim.daemon.clients.client import Client, ClientGone

QUICK = replace(Deadlines(), idle=0.2, transfer=0.2)

End = Callable[[socket.socket], None]


def half_close(other: socket.socket) -> None:
    other.shutdown(socket.SHUT_WR)


def close(other: socket.socket) -> None:
    other.close()


def half_close_and_close(other: socket.socket) -> None:
    other.shutdown(socket.SHUT_WR)
    other.close()


def fall_silent(_: socket.socket) -> None:
    """Neither read nor write any more."""


def gone(end: End, *, tells_endings: bool, unread: bytes = b"") -> ClientGone:
    """What a client's end looks like to somebody who works for it."""

    async def scene() -> ClientGone:
        ours, theirs = socket.socketpair()
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            client = Client(stream, ServerConnection(), QUICK, tells_endings=tells_endings)
            if unread:
                ours.send(unread)
            end(theirs)
            told: list[ClientGone] = []
            with pytest.raises(ClientGone) as raised:
                await client.while_listening(trio.sleep_forever, told.append)
            assert told == [raised.value]
            theirs.close()
            return raised.value

    return trio.run(scene)


@pytest.mark.parametrize("tells_endings", [True, False])
def test_a_client_that_half_closes_leaves(*, tells_endings: bool) -> None:
    assert not gone(half_close, tells_endings=tells_endings).vanished


def test_a_plain_client_that_closes_leaves() -> None:
    assert not gone(close, tells_endings=False).vanished


def test_a_relay_that_closes_without_half_closing_lost_its_client() -> None:
    assert gone(close, tells_endings=True).vanished


@pytest.mark.parametrize("tells_endings", [True, False])
def test_a_connection_that_is_reset_vanished(*, tells_endings: bool) -> None:
    # A Unix socket that is closed with something unread resets the other end.
    found = gone(close, tells_endings=tells_endings, unread=b"a line of log")
    assert found.vanished
    assert str(found) == "reset"


@pytest.mark.parametrize("tells_endings", [True, False])
def test_a_silent_client_vanished(*, tells_endings: bool) -> None:
    assert gone(fall_silent, tells_endings=tells_endings).vanished


async def send_for_ever(client: Client) -> None:
    while True:
        await client.send(bytes(1 << 16))


def sending_to(end: End, *, tells_endings: bool) -> ClientGone:
    """What a client's end looks like to somebody who only writes."""

    async def scene() -> ClientGone:
        ours, theirs = socket.socketpair()
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            client = Client(stream, ServerConnection(), QUICK, tells_endings=tells_endings)
            end(theirs)
            with pytest.raises(ClientGone) as raised:
                await send_for_ever(client)
            theirs.close()
            return raised.value

    return trio.run(scene)


def test_who_takes_nothing_vanished() -> None:
    found = sending_to(fall_silent, tells_endings=False)
    assert found.vanished
    assert "took nothing" in str(found)


@pytest.mark.parametrize("tells_endings", [True, False])
def test_writing_to_a_closed_connection_tells_the_same_as_reading(*, tells_endings: bool) -> None:
    assert sending_to(close, tells_endings=tells_endings).vanished is tells_endings


def test_what_the_work_returns_is_passed_on() -> None:
    async def answer() -> int:
        await trio.lowlevel.checkpoint()
        return 42

    async def fails() -> int:
        await trio.lowlevel.checkpoint()
        raise KeyError("work")

    async def scene(work: Callable[[], Awaitable[Any]]) -> Any:
        ours, theirs = socket.socketpair()
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            with theirs:
                return await Client(stream, ServerConnection(), QUICK).while_listening(work)

    assert trio.run(scene, answer) == 42
    with pytest.raises(KeyError):
        trio.run(scene, fails)
