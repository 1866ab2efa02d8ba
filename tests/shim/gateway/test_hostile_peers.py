"""What a peer that means harm can make the gateway do: nothing that others would notice."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from queue import Queue

import asyncssh
import pytest

from shim.channels import Channel, exit_frame, frame
from shim.preamble import Preamble, Speaks
from tests.live.world import GatewayDoor
from tests.shim.gateway.conftest import Daemon
from tests.shim.gateway.talking import (
    HOST,
    LITTLE,
    PLENTY,
    STDIO,
    connected,
    run,
    wait_for,
    waiting,
    works,
)

MakeDoor = Callable[..., GatewayDoor]


def test_a_peer_may_hold_so_many_sessions(make_door: MakeDoor, endings: "Queue[str]") -> None:
    door = make_door()
    door.configure(attic="sessions = 2")
    assert door.process is not None
    door.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded" in door.log.read_text())
    with waiting(door, "-M", f"-S{door.base}/m") as one, waiting(door):
        done = run(door.ssh(f"-S{door.base}/m", HOST, STDIO))
        assert done.returncode == 69
        assert b"attic holds 2 sessions" in done.stderr
        one.terminate()
        endings.get(timeout=20)
        wait_for(lambda: run(door.ssh(HOST, STDIO)).stdout.startswith(b"ready"))


def test_a_peer_gets_no_other_channels(door: GatewayDoor) -> None:
    async def ask() -> list[str]:
        answers = []
        async with connected(door) as connection:
            for request in (
                connection.open_connection(HOST, 22),
                connection.open_unix_connection("/run/nix-shim/socket"),
                connection.start_unix_server(lambda: None, "/tmp/nix-shim-test.sock"),
                connection.start_server(lambda *_: None, HOST, 0),
                connection.create_tun(asyncssh.SSHTunTapSession, 0),
            ):
                with contextlib.suppress(asyncssh.ChannelOpenError, asyncssh.ChannelListenError):
                    await request
                    answers.append(request.__name__)
        return answers

    assert asyncio.run(ask()) == []


def test_environment_is_not_kept(door: GatewayDoor) -> None:
    before = door.memory()

    async def ask() -> bytes:
        env = {f"NAME{number}": "x" * 30_000 for number in range(3000)}
        async with connected(door) as connection:
            done = await connection.run(STDIO, input=b"hello", env=env, encoding=None)
            assert isinstance(done.stdout, bytes)
            return done.stdout

    assert asyncio.run(ask()) == b"hello"
    assert door.memory() - before < LITTLE


def test_a_client_of_tiny_packets_is_not_served(door: GatewayDoor) -> None:
    async def ask() -> None:
        async with connected(door) as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_session(
                    asyncssh.SSHClientSession, STDIO, encoding=None, max_pktsize=1
                )

    asyncio.run(ask())
    assert works(door)


def test_an_exchange_of_keys_that_is_never_finished_holds_nothing(
    door: GatewayDoor, daemon: Daemon
) -> None:
    sent: list[int] = []

    def flood(preamble: Preamble, connection: socket.socket) -> None:
        if preamble.speaks is not Speaks.WORKER:
            connection.sendall(frame(Channel.STDOUT, b"hello") + exit_frame(0))
            return
        connection.recv(2)
        for _ in range(PLENTY >> 20):
            connection.sendall(bytes(1 << 20))
            sent.append(1 << 20)

    daemon.speaks = flood
    before = door.memory()

    async def ask() -> None:
        connection = await connected(door)
        channel, _ = await connection.create_session(
            asyncssh.SSHClientSession, STDIO, encoding=None, window=1 << 31
        )
        connection._send_kexinit()  # and from here on the answer is not even read
        connection._kexinit_sent = True
        connection._transport.pause_reading()
        connection._kex_complete = True  # as if it were done, so that the next packet goes out
        channel.write(b"go")
        await asyncio.sleep(2)
        connection.abort()

    asyncio.run(ask())
    assert sum(sent) < LITTLE
    assert door.memory() - before < LITTLE
    assert run(door.ssh(HOST, "nix-store --version")).stdout == b"hello"
