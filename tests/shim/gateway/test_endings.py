"""How a client went is told by how the gateway closes its connection to the daemon."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import asyncssh
import pytest

from shim.channels import Channel, frame
from shim.preamble import Preamble
from tests.live.world import GatewayDoor
from tests.shim.gateway.conftest import Daemon
from tests.shim.gateway.talking import HOST, STDIO, connected, plain, run, wait_for, waiting

MakeDoor = Callable[..., GatewayDoor]


def test_an_end_of_data_is_passed_on(door: GatewayDoor, endings: "Queue[str]") -> None:
    with waiting(door) as client:
        assert client.stdin is not None
        client.stdin.close()
        assert endings.get(timeout=20) == "half-closed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_client_that_is_ended_has_left(
    door: GatewayDoor, endings: "Queue[str]", number: signal.Signals
) -> None:
    with waiting(door) as client:
        client.send_signal(number)
        assert endings.get(timeout=20) == "half-closed"


@pytest.fixture
def floods(daemon: Daemon) -> "Queue[str]":
    """How sessions end to which the daemon sends without end."""
    ended: Queue[str] = Queue()

    def flood(_: Preamble, connection: socket.socket) -> None:
        left = threading.Event()

        def send() -> None:
            try:
                while not left.is_set():
                    connection.sendall(bytes(1 << 16))
            except OSError:
                ended.put("closed")
            else:
                ended.put("half-closed")

        sending = threading.Thread(target=send)
        sending.start()
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1 << 16):
                pass
            time.sleep(0.2)
        left.set()
        sending.join()

    daemon.speaks = flood
    return ended


def test_a_client_that_closes_in_the_middle_of_data_has_left(
    door: GatewayDoor, floods: "Queue[str]"
) -> None:
    async def ask() -> list[str]:
        async with connected(door) as connection:
            for _ in range(20):
                process = await connection.create_process(STDIO, encoding=None)
                await process.stdout.read(100_000)
                process.channel.abort()
            return [await asyncio.to_thread(floods.get, timeout=20) for _ in range(20)]

    assert asyncio.run(ask()) == ["half-closed"] * 20
    assert "Traceback" not in door.log.read_text()


def test_a_client_that_says_so_and_resets_has_left(door: GatewayDoor, floods: "Queue[str]") -> None:
    """What a client's kernel does if data comes for one that has closed: it sends a reset."""
    gateway = door.process
    assert gateway is not None

    async def ask() -> None:
        connection = await connected(door)
        wire = connection.get_extra_info("socket")
        process = await connection.create_process(STDIO, encoding=None)
        await process.stdout.read(100_000)
        gateway.send_signal(signal.SIGSTOP)  # the goodbye and the reset come at once
        try:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.disconnect(asyncssh.DISC_BY_APPLICATION, "")
            await connection.wait_closed()
        finally:
            gateway.send_signal(signal.SIGCONT)

    for _ in range(10):
        asyncio.run(ask())
        assert floods.get(timeout=20) == "half-closed"
    assert "Traceback" not in door.log.read_text()


def test_a_silent_client_is_lost(make_door: MakeDoor, endings: "Queue[str]") -> None:
    door = make_door(settings="keepalive = 1")  # a client may be late by seconds on a busy machine
    with waiting(door) as client:
        time.sleep(4)  # alive, and answering keep-alives
        assert endings.empty()
        os.kill(client.pid, signal.SIGSTOP)
        assert endings.get(timeout=20) == "closed"
        os.kill(client.pid, signal.SIGCONT)


def test_a_connection_that_is_reset_is_lost(make_door: MakeDoor, endings: "Queue[str]") -> None:
    door = make_door()
    proxy = Proxy(door.port)
    door.port = proxy.port
    with waiting(door):
        proxy.reset()
        assert endings.get(timeout=20) == "closed"
    wait_for(lambda: "how=lost" in plain(door.log))


class Proxy:
    """Passes one connection on until it is told to reset it."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._far = socket.create_connection((HOST, port))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._listener:
            near, _ = self._listener.accept()
        back = threading.Thread(target=self._pass, args=(self._far, near))
        back.start()
        with near:
            self._pass(near, self._far)
            back.join()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RD)

    def reset(self) -> None:
        """Send RST to the gateway; the client is only let go."""
        self._far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._far.shutdown(socket.SHUT_RD)  # wakes the thread that reads, and sends nothing
        self._thread.join(20)
        self._far.close()


def test_a_daemon_that_is_not_there_is_told_in_one_line(
    make_door: MakeDoor, tmp_path: Path
) -> None:
    door = make_door(tmp_path / "none")
    done = run(door.ssh(HOST, STDIO))
    assert done.returncode == 69
    assert done.stdout == b""
    assert done.stderr == b"nix-shim: the daemon is not running; the host's log says why\n"


def test_a_daemon_that_breaks_off_a_command_is_a_failure(door: GatewayDoor, daemon: Daemon) -> None:
    daemon.speaks = lambda _, connection: connection.sendall(frame(Channel.STDOUT, b"half"))
    done = run(door.ssh(HOST, "nix-store --version"))
    assert (done.returncode, done.stdout) == (69, b"half")
