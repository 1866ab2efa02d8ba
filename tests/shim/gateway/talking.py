"""What tests of the gateway say to it, with `ssh` and without."""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh

from tests.live.world import GatewayDoor

HOST = "127.0.0.1"
STDIO = "nix-daemon --stdio"


def run(command: list[str], given: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **more},
    )


def works(door: GatewayDoor, peer: str = "attic") -> bool:
    """Whether a peer can come in and be heard."""
    return run(door.ssh(HOST, STDIO, peer=peer), b"hello").stdout == b"hello"


PLENTY = 150_000_000
LITTLE = 40_000_000
"""What the gateway may grow by: windows and socket buffers, twice over."""


@contextlib.contextmanager
def waiting(door: GatewayDoor, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client in the middle of a session, its standard input open."""
    with subprocess.Popen(
        door.ssh(*options, HOST, STDIO), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        assert client.stdout.read(5) == b"ready"
        yield client
        with contextlib.suppress(OSError):
            client.kill()


def ends(connection: socket.socket) -> bool:
    """Whether the other side closes within 30 seconds."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass
    return True


def connected(door: GatewayDoor, **options: Any) -> Any:
    return asyncssh.connect(
        HOST,
        door.port,
        username="root",
        **{"client_keys": [str(door.base / "attic")], **options},
        known_hosts=None,
        config=None,
    )


def plain(log: Path) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
