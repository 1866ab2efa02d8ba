import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from shim.preamble import HEADER, Preamble

COMMAND = [sys.executable, "-m", "shim", "stdio"]


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    return listener


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def test_bytes_go_both_ways_and_the_end_too(tmp_path: Path) -> None:
    payload = os.urandom(3_000_000)
    with listen(tmp_path / "s") as listener:
        said: list[bytes] = []

        def daemon() -> None:
            connection, _ = listener.accept()
            with connection:
                said.append(receive(connection, len(Preamble("attic").render())))
                said.append(receive(connection, len(payload)))
                said.append(connection.recv(1))  # the end of standard input
                connection.sendall(payload[::-1])

        thread = threading.Thread(target=daemon)
        thread.start()
        done = subprocess.run(
            [*COMMAND, "--stdio", "--peer", "attic", "--socket", str(tmp_path / "s")],
            input=payload,
            capture_output=True,
            timeout=60,
            check=True,
        )
        thread.join(60)
    assert Preamble.parse(said[0][HEADER.size :]).peer == "attic"
    assert said[1:] == [payload, b""]
    assert done.stdout == payload[::-1]
    assert done.stderr == b""


def test_a_daemon_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--socket", str(tmp_path / "none")],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 69
    assert done.stdout == ""
    assert "none" in done.stderr
    assert "nix-shim serve" in done.stderr
    assert not done.stderr.startswith(("# ", "@nix "))


def test_unknown_arguments_are_refused() -> None:
    done = subprocess.run(
        [*COMMAND, "--serve"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "`--serve`" in done.stderr


def test_start_up_imports_no_more_than_it_needs() -> None:
    program = (
        "import sys; import shim.__main__, shim.stdio;"
        "print(*sorted(m for m in ('trio', 'click', 'asyncio', 'structlog', 'protocol', 'rich')"
        " if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
