"""A real gateway process, real `ssh`, and in the daemon's place a socket that tests speak for."""

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any, Final

import pytest

from shim.preamble import HEADER, Preamble, body_length
from tests.live.world import GatewayDoor
from tests.shim.gateway.talking import run

Speaks = Callable[[Preamble, socket.socket], None]


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def echo(_: Preamble, connection: socket.socket) -> None:
    """Send back what comes, to its end."""
    while data := connection.recv(1 << 18):
        connection.sendall(data)


@dataclass
class Daemon:
    """The daemon's side of the contract: a preamble, then whatever a test says."""

    path: Path
    speaks: Speaks = echo
    heard: "Queue[Preamble]" = field(default_factory=Queue)
    """The preambles, as they come."""

    def __post_init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            length = body_length(receive(connection, HEADER.size))
            preamble = Preamble.parse(receive(connection, length))
            self.heard.put(preamble)
            self.speaks(preamble, connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


USERS: Final = 'users = ["nix-shim", "root"]'


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, GatewayDoor]]:
    """One gateway for all tests that leave it as it was; beside it lie keys of strangers."""
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH's client is not installed")
    base = tmp_path_factory.mktemp("gateway")
    daemon = Daemon(base / "daemon.sock")
    with GatewayDoor(base / "door", daemon.path, settings=USERS) as door:
        for name, kind in (("stranger", "ed25519"), ("rsa", "rsa")):
            run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(door.base / name)])
        yield daemon, door
    daemon.close()


@pytest.fixture
def daemon(shared: tuple[Daemon, GatewayDoor]) -> Daemon:
    """What every gateway here reaches: an echo, unless a test has it say something else."""
    found = shared[0]
    found.speaks = echo
    found.heard = Queue()
    return found


@pytest.fixture
def door(shared: tuple[Daemon, GatewayDoor], daemon: Daemon) -> GatewayDoor:  # noqa: ARG001 - reset
    return shared[1]


@pytest.fixture
def make_door(tmp_path: Path, daemon: Daemon) -> Iterator[Callable[..., GatewayDoor]]:
    """Start gateways for tests that do not leave them as they were."""
    with contextlib.ExitStack() as stack:

        def make(socket: Path = daemon.path, **settings: Any) -> GatewayDoor:
            return stack.enter_context(GatewayDoor(tmp_path / "door", socket, **settings))

        yield make


@pytest.fixture
def endings(daemon: Daemon) -> "Queue[str]":
    """How sessions end, as the daemon sees it."""
    seen: Queue[str] = Queue()

    def listen(_: Preamble, connection: socket.socket) -> None:
        connection.sendall(b"ready")
        try:
            while connection.recv(1 << 16):
                pass
            time.sleep(0.2)  # a connection that is closed at once is closed by now
            connection.send(b"x")
            connection.send(b"x")
        except OSError:
            seen.put("closed")
        else:
            seen.put("half-closed")

    daemon.speaks = listen
    return seen
