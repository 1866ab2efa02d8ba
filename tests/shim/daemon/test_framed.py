"""Clients behind a relay: three streams down, one up, and how they end."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from protocol.worker.stderr import (
    ActivityType,
    LogMessage,
    Next,
    Result,
    ResultType,
    StartActivity,
    StopActivity,
    Verbosity,
)
from shim.channels import LIMIT, Channel, Frames
from shim.config import Deadlines
from shim.daemon.clients.client import ClientGone
from shim.daemon.translated.framed import Framed, shown

End = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def ends(**deadlines: float) -> AsyncIterator[tuple[Framed, trio.SocketStream]]:
    ours, theirs = (
        trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair()
    )
    async with ours, theirs:
        yield Framed(ours, Deadlines(**deadlines)), theirs


def test_output_errors_and_exit_code_arrive_apart_and_in_order() -> None:
    async def main() -> list[tuple[Channel, bytes]]:
        async with ends() as (framed, client):
            await framed.write(b"one")
            await framed.say("zwei \udcff\n")
            await framed.write(b"")
            await framed.exit(100)
            return list(Frames().feed(bytes(await client.receive_some(1000))))

    assert trio.run(main) == [
        (Channel.STDOUT, b"one"),
        (Channel.STDERR, b"zwei \xff\n"),
        (Channel.EXIT, b"d"),
    ]


def test_what_is_longer_than_a_frame_goes_in_several() -> None:
    async def main() -> int:
        frames, size = Frames(), 0
        async with ends() as (framed, client), trio.open_nursery() as nursery:
            nursery.start_soon(framed.write, bytes(LIMIT + 5))
            while size < LIMIT + 5:
                data = bytes(await client.receive_some(1 << 20))
                size += sum(len(piece) for _, piece in frames.feed(data))
        return size

    assert trio.run(main) == LIMIT + 5


def gone(end: End, *, tells_endings: bool) -> ClientGone:
    """What a command hears whose client ends like that."""

    async def main() -> ClientGone:
        told: list[ClientGone] = []

        async def wait(framed: Framed) -> None:
            told.append(await framed.left(tells_endings=tells_endings))

        async with ends() as (framed, client):
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait, framed)
                    await trio.testing.wait_all_tasks_blocked()
                    await end(client)
        return told[0]

    return trio.run(main)


async def close(client: trio.SocketStream) -> None:
    await client.aclose()


async def half_close_then_close(client: trio.SocketStream) -> None:
    await client.send_eof()
    await trio.testing.wait_all_tasks_blocked()
    await client.aclose()


@pytest.mark.parametrize(
    ("end", "tells_endings", "vanished"),
    [(close, True, True), (close, False, False), (half_close_then_close, True, False)],
)
def test_who_closes_at_once_may_have_vanished(
    end: End, *, tells_endings: bool, vanished: bool
) -> None:
    assert gone(end, tells_endings=tells_endings).vanished is vanished


def test_the_end_of_standard_input_is_not_the_end_of_a_client() -> None:
    async def main() -> bool:
        async with ends() as (framed, client):
            await client.send_all(b"ignored")
            await client.send_eof()
            with trio.move_on_after(0.2) as scope:
                await framed.left(tells_endings=True)
        return scope.cancelled_caught

    assert trio.run(main)


def test_a_client_that_takes_nothing_is_given_up() -> None:
    async def main() -> None:
        async with ends(transfer=0.05) as (framed, _):
            await framed.write(bytes(10 << 20))

    with pytest.raises(ClientGone, match="took nothing") as caught:
        trio.run(main)
    assert caught.value.vanished


@pytest.mark.parametrize(
    ("message", "verbosity", "text"),
    [
        (Next("a line"), 0, "a line\n"),
        (Next("a line\n"), 0, "a line\n"),
        (Next(""), 7, ""),
        (Result(1, ResultType.BUILD_LOG_LINE, ("built",)), 0, "built\n"),
        (Result(1, ResultType.SET_PHASE, ("buildPhase",)), 7, ""),
        (Result(1, ResultType.PROGRESS, (1, 2, 3, 4)), 7, ""),
        (StartActivity(1, Verbosity.INFO, ActivityType.BUILD, "building x"), 3, "building x...\n"),
        (StartActivity(1, Verbosity.INFO, ActivityType.BUILD, "building x"), 0, ""),
        (StopActivity(1), 7, ""),
    ],
)
def test_messages_are_shown_as_by_the_plain_logger(
    message: LogMessage, verbosity: int, text: str
) -> None:
    assert shown(message, verbosity) == text


def test_build_output_can_be_left_out() -> None:
    line = Result(1, ResultType.BUILD_LOG_LINE, ("built",))
    assert shown(line, 3, build_output=False) == ""
