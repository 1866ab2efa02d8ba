import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shim.channels import Channel, exit_frame, frame
from shim.preamble import HEADER, Preamble, Speaks, body_length

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


def test_neither_direction_waits_for_the_other(tmp_path: Path) -> None:
    payload = os.urandom(3_000_000)
    with listen(tmp_path / "s") as listener:
        said: list[bytes] = []

        def daemon() -> None:
            connection, _ = listener.accept()
            with connection:
                receive(connection, body_length(receive(connection, HEADER.size)))
                connection.sendall(payload[::-1])  # while what the client says is not taken
                said.append(receive(connection, len(payload) + 1))

        thread = threading.Thread(target=daemon)
        thread.start()
        done = subprocess.run(
            [*COMMAND, "--socket", str(tmp_path / "s")],
            input=payload,
            capture_output=True,
            timeout=60,
            check=True,
        )
        thread.join(60)
    assert said == [payload]
    assert done.stdout == payload[::-1]


def test_what_the_line_itself_prints_comes_before_what_the_daemon_says(tmp_path: Path) -> None:
    with listen(tmp_path / "s") as listener:

        def daemon() -> None:
            connection, _ = listener.accept()
            with connection:
                receive(connection, body_length(receive(connection, HEADER.size)))
                connection.sendall(b"greeting of nix-daemon")

        thread = threading.Thread(target=daemon)
        thread.start()
        done = run(
            ["--socket", str(tmp_path / "s")],
            SSH_ORIGINAL_COMMAND="echo started && nix-daemon --stdio",
        )
        thread.join(60)
    assert done.stdout == "started\ngreeting of nix-daemon"


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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--gc"], "`--gc`"),
        (["--peer"], "`--peer`"),
        (["--serve", "--process-ops"], "`--serve --process-ops`"),
        (["--stdio", "--serve"], "`--stdio --serve`"),
        (["--peer", "two words"], "`two words`"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], named: str) -> None:
    done = run(arguments)
    assert done.returncode == 2
    assert named in done.stderr


def run(arguments: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


@pytest.mark.parametrize(
    ("arguments", "asked", "told"),
    [
        ([], None, Preamble("attic")),
        (["--stdio", "--store", "auto"], None, Preamble("attic")),
        (["--serve", "--write"], None, Preamble("attic", Speaks.SERVE, ("--write",))),
        ([], "nix-daemon --stdio", Preamble("attic")),
        ([], "nix-store --serve --write", Preamble("attic", Speaks.SERVE, ("--write",))),
        ([], "nix-store --version", Preamble("attic", Speaks.COMMAND, ("nix-store", "--version"))),
        (["--stdio"], "nix-store --serve --write", Preamble("attic")),  # our own options win
    ],
)
def test_the_daemon_is_told_what_will_be_spoken(
    arguments: list[str], asked: str | None, told: Preamble, tmp_path: Path
) -> None:
    environ = {} if asked is None else {"SSH_ORIGINAL_COMMAND": asked}
    with listen(tmp_path / "s") as listener:
        said: list[Preamble] = []

        def daemon() -> None:
            connection, _ = listener.accept()
            with connection:
                length = body_length(receive(connection, HEADER.size))
                said.append(Preamble.parse(receive(connection, length)))

        thread = threading.Thread(target=daemon)
        thread.start()
        run([*arguments, "--peer", "attic", "--socket", str(tmp_path / "s")], **environ)
        thread.join(60)
    assert said == [told]


def test_a_forced_command_answers_nothing_else() -> None:
    done = run(["--peer", "attic"], SSH_ORIGINAL_COMMAND="cat /etc/shadow")
    assert done.returncode == 127
    assert done.stdout == ""
    assert done.stderr.startswith("nix-shim: `cat /etc/shadow` ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("frames", "result"),
    [
        (
            [frame(Channel.STDERR, b"note\n"), frame(Channel.STDOUT, b"path\n"), exit_frame(100)],
            (100, "path\n", "note\n"),
        ),
        ([frame(Channel.STDOUT, b"half")], (69, "half", "")),  # the daemon went away
        ([b"\x09\0\0\0\0"], (69, "", "")),
    ],
)
def test_output_errors_and_exit_code_of_a_command_go_where_they_belong(
    frames: list[bytes], result: tuple[int, str, str], tmp_path: Path
) -> None:
    with listen(tmp_path / "s") as listener:

        def daemon() -> None:
            connection, _ = listener.accept()
            with connection:
                receive(connection, body_length(receive(connection, HEADER.size)))
                connection.sendall(b"".join(frames))

        thread = threading.Thread(target=daemon)
        thread.start()
        done = run(
            ["--socket", str(tmp_path / "s")], SSH_ORIGINAL_COMMAND="nix-store -q /nix/store/x"
        )
        thread.join(60)
    assert (done.returncode, done.stdout, done.stderr) == result


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        ("nix-daemon --stdio", set()),
        ("nix-store --serve --write", {"shim.channels"}),
    ],
)
def test_a_session_imports_no_more_than_it_needs(
    asked: str, needed: set[str], tmp_path: Path
) -> None:
    with listen(tmp_path / "s") as listener:

        def daemon() -> None:
            connection, _ = listener.accept()
            with connection:
                receive(connection, body_length(receive(connection, HEADER.size)))

        thread = threading.Thread(target=daemon)
        thread.start()
        done = run(
            ["--socket", str(tmp_path / "s")],
            SSH_ORIGINAL_COMMAND=asked,
            PYTHONPROFILEIMPORTTIME="1",
        )
        thread.join(60)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert set(imported[imported.index("shim") :]) == {
        *("shim", "shim.stdio", "shim.execline", "shim.preamble", "shim.small"),
        *("__future__", "_socket", "struct", "_struct"),
        *needed,
    }
