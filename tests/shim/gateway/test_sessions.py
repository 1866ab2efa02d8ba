"""What the gateway passes on, and how much of it it holds, with a real `ssh`."""

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from queue import Queue

from shim.channels import Channel, exit_frame, frame
from shim.preamble import Preamble, Speaks
from tests.live.world import GatewayDoor
from tests.shim.gateway.conftest import Daemon
from tests.shim.gateway.talking import HOST, LITTLE, PLENTY, STDIO, run, wait_for


def test_a_session_is_the_daemons_word_for_word(door: GatewayDoor, daemon: Daemon) -> None:
    payload = os.urandom(5_000_000)
    done = run(door.ssh(HOST, STDIO), payload)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == payload
    assert daemon.heard.get(timeout=5) == Preamble("attic", tells_endings=True)


def test_output_errors_and_exit_code_are_told_apart(door: GatewayDoor, daemon: Daemon) -> None:
    def serve(_: Preamble, connection: socket.socket) -> None:
        connection.sendall(frame(Channel.STDERR, b"note\n") + frame(Channel.STDOUT, b"path\n"))
        connection.sendall(exit_frame(100))

    daemon.speaks = serve
    done = run(door.ssh(HOST, "nix-store", "-q", "/nix/store/x"))
    assert (done.returncode, done.stdout, done.stderr) == (100, b"path\n", b"note\n")
    words = ("nix-store", "-q", "/nix/store/x")
    assert daemon.heard.get(timeout=5) == Preamble(
        "attic", Speaks.COMMAND, words, tells_endings=True
    )
    run(door.ssh(HOST, "nix-store --serve --write"))
    assert daemon.heard.get(timeout=5).speaks is Speaks.SERVE


def test_a_client_that_says_no_more_still_gets_its_answer(
    door: GatewayDoor, daemon: Daemon
) -> None:
    def after_the_end(_: Preamble, connection: socket.socket) -> None:
        said = b""
        while data := connection.recv(1 << 16):
            said += data
        connection.sendall(said[::-1])

    daemon.speaks = after_the_end
    assert run(door.ssh(HOST, STDIO), b"abc").stdout == b"cba"


def test_several_sessions_share_one_connection(door: GatewayDoor, tmp_path: Path) -> None:
    master = f"-S{tmp_path}/master"
    before = door.log.read_text().count("peer-connected")
    with subprocess.Popen(door.ssh(master, "-M", "-N", HOST)) as process:
        wait_for((tmp_path / "master").exists)
        results: Queue[bool] = Queue()

        def one() -> None:
            payload = os.urandom(1_000_000)
            results.put(run(door.ssh(master, HOST, STDIO), payload).stdout == payload)

        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert [results.get(timeout=5) for _ in threads] == [True] * 8
        assert door.log.read_text().count("peer-connected") == before + 1
        process.terminate()


def test_fifty_connections_at_once(door: GatewayDoor) -> None:
    clients = [
        subprocess.Popen(door.ssh(HOST, STDIO), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(50)
    ]
    for number, client in enumerate(clients):
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"%04d" % number)
        client.stdin.flush()
    for number, client in enumerate(clients):  # all of them are open now
        assert client.stdout is not None
        assert client.stdout.read(4) == b"%04d" % number
    for client in clients:
        client.communicate(timeout=60)
        assert client.returncode == 0


def test_keys_are_exchanged_anew_under_load(door: GatewayDoor) -> None:
    payload = os.urandom(20_000_000)
    done = run(door.ssh("-v", "-o", "RekeyLimit=1M", "-o", "LogLevel=DEBUG1", HOST, STDIO), payload)
    assert done.stdout == payload
    assert done.stderr.count(b"SSH2_MSG_NEWKEYS received") > 10


def test_a_client_that_stops_reading_holds_up_itself_only(
    door: GatewayDoor, daemon: Daemon
) -> None:
    def flood(preamble: Preamble, connection: socket.socket) -> None:
        if preamble.speaks is Speaks.WORKER:
            connection.sendall(bytes(PLENTY))
        else:
            connection.sendall(frame(Channel.STDOUT, b"hello") + exit_frame(0))

    daemon.speaks = flood
    before = door.memory()
    with subprocess.Popen(
        door.ssh(HOST, STDIO), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        client.stdout.read(1)
        time.sleep(1)  # as long as it takes to fill every buffer on the way
        os.kill(client.pid, signal.SIGSTOP)  # now its kernel takes nothing either
        time.sleep(1)
        assert run(door.ssh(HOST, "nix-store --version")).stdout == b"hello"
        assert door.memory() - before < LITTLE
        os.kill(client.pid, signal.SIGCONT)
        left = PLENTY - 1
        while data := client.stdout.read(1 << 20):
            assert not any(data)
            left -= len(data)
        assert left == 0


def test_a_daemon_that_stops_reading_holds_up_one_session_only(
    door: GatewayDoor, daemon: Daemon
) -> None:
    go_on = threading.Event()
    taken: Queue[int] = Queue()

    def slow(preamble: Preamble, connection: socket.socket) -> None:
        if preamble.speaks is not Speaks.WORKER:
            connection.sendall(frame(Channel.STDOUT, b"hello") + exit_frame(0))
            return
        go_on.wait(60)
        total = 0
        while data := connection.recv(1 << 20):
            total += len(data)
            time.sleep(0.0005)  # slower than the client all the way
        taken.put(total)

    daemon.speaks = slow
    before = door.memory()
    with subprocess.Popen(door.ssh(HOST, STDIO), stdin=subprocess.PIPE) as client:
        assert client.stdin is not None
        feeding = threading.Thread(target=client.communicate, args=(bytes(PLENTY),))
        feeding.start()
        time.sleep(1)
        assert run(door.ssh(HOST, "nix-store --version")).stdout == b"hello"
        go_on.set()
        feeding.join(120)
    assert taken.get(timeout=60) == PLENTY
    assert door.memory() - before < LITTLE
