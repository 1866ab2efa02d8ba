"""What the gateway lets through and what not, asked with OpenSSH's client and with raw packets."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import asyncssh
import pytest

from shim.channels import Channel, exit_frame, frame
from shim.preamble import Preamble, Speaks
from tests.live.world import SHIM, GatewayDoor
from tests.shim.gateway.conftest import Daemon

MakeDoor = Callable[..., GatewayDoor]
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


# Sessions


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
        assert door.log.read_text().count("peer-connected") == 1
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


# Back pressure: neither side makes the gateway hold what the other does not take

PLENTY = 150_000_000
LITTLE = 40_000_000
"""What the gateway may grow by: windows and socket buffers, twice over."""


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


# Endings: how a client went is told by how the gateway closes


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


def test_a_client_that_closes_in_the_middle_of_data_has_left(
    door: GatewayDoor, daemon: Daemon
) -> None:
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
        while connection.recv(1 << 16):
            pass
        time.sleep(0.2)
        left.set()
        sending.join()

    daemon.speaks = flood

    async def ask() -> None:
        async with connected(door) as connection:
            for _ in range(20):
                process = await connection.create_process(STDIO, encoding=None)
                await process.stdout.read(100_000)
                process.channel.abort()

    asyncio.run(ask())
    assert [ended.get(timeout=20) for _ in range(20)] == ["half-closed"] * 20
    assert "Traceback" not in door.log.read_text()


def test_a_silent_client_is_lost(make_door: MakeDoor, endings: "Queue[str]") -> None:
    door = make_door(settings="keepalive = 0.4")
    with waiting(door) as client:
        time.sleep(3)  # alive, and answering keep-alives
        assert endings.empty()
        os.kill(client.pid, signal.SIGSTOP)
        assert endings.get(timeout=20) == "closed"
        os.kill(client.pid, signal.SIGCONT)


def test_a_connection_that_is_reset_is_lost(door: GatewayDoor, endings: "Queue[str]") -> None:
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


def test_a_daemon_that_is_not_there_is_told_in_one_line(door: GatewayDoor, daemon: Daemon) -> None:
    daemon.close()
    daemon.path.unlink()
    done = run(door.ssh(HOST, STDIO))
    assert done.returncode == 69
    assert done.stdout == b""
    assert done.stderr == b"nix-shim: the daemon is not running; the host's log says why\n"


def test_a_daemon_that_breaks_off_a_command_is_a_failure(door: GatewayDoor, daemon: Daemon) -> None:
    daemon.speaks = lambda _, connection: connection.sendall(frame(Channel.STDOUT, b"half"))
    done = run(door.ssh(HOST, "nix-store --version"))
    assert (done.returncode, done.stdout) == (69, b"half")


# Who may come in

USERS = 'users = ["nix-shim", "root"]'


def test_two_keys_of_a_peer_are_the_same_peer(make_door: MakeDoor, daemon: Daemon) -> None:
    door = make_door(peers=("attic", "cellar"))
    extra = (door.base / "cellar.pub").read_text().strip()
    door.peers = ("attic",)
    door.configure(attic=f'keys = ["{extra}"]')
    assert door.process is not None
    door.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded" in door.log.read_text())
    for key in ("attic", "cellar"):
        assert works(door, key)
        assert daemon.heard.get(timeout=5).peer == "attic"


@pytest.mark.parametrize(
    ("options", "user", "comes_in"),
    [
        pytest.param([], "root", True, id="its key"),
        pytest.param([], "nix-shim", True, id="its key, another name that is listed"),
        pytest.param([], "admin", False, id="its key, a wrong name"),
        pytest.param(["-i", "stranger"], "root", False, id="an unknown key"),
        pytest.param(["-i", "rsa"], "root", False, id="another unknown key"),
        pytest.param(["-o", "PreferredAuthentications=none"], "root", False, id="no key"),
        pytest.param(["-o", "PreferredAuthentications=password"], "root", False, id="a password"),
        pytest.param(
            ["-o", "PreferredAuthentications=keyboard-interactive"], "root", False, id="answers"
        ),
        pytest.param(["-o", "Ciphers=aes128-ctr"], "root", False, id="a cipher without a tag"),
        pytest.param(["-o", "Ciphers=chacha20-poly1305@openssh.com"], "root", True, id="chacha"),
        pytest.param(["-o", "Ciphers=aes256-gcm@openssh.com"], "root", True, id="aes"),
        pytest.param(["-o", "KexAlgorithms=curve25519-sha256"], "root", True, id="x25519"),
        pytest.param(
            ["-o", "KexAlgorithms=diffie-hellman-group14-sha256"], "root", False, id="an old group"
        ),
        pytest.param(["-o", "HostKeyAlgorithms=ssh-rsa"], "root", False, id="an RSA host key"),
        pytest.param(["-C"], "root", True, id="compression is not refused, only not used"),
    ],
)
def test_only_a_peers_key_under_a_listed_name_comes_in(
    options: list[str], user: str, comes_in: bool, strict_door: GatewayDoor
) -> None:
    door = strict_door
    words = [str(door.base / each) if each in {"stranger", "rsa"} else each for each in options]
    command = door.ssh(*words, f"{user}@{HOST}", STDIO)
    if "-i" in words:
        command = [each for each in command if each != str(door.base / "attic")]
        command.remove("-i")
    done = run(command, b"hello")
    assert (done.stdout == b"hello") is comes_in
    if not comes_in:
        assert done.returncode == 255
        assert b"nix" not in done.stderr.lower()  # nothing is told to strangers


@pytest.fixture(scope="module")
def strict_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayDoor]:
    base = tmp_path_factory.mktemp("strict")
    daemon = Daemon(base / "daemon.sock")
    with GatewayDoor(base / "door", daemon.path, settings=USERS) as door:
        for name, kind in (("stranger", "ed25519"), ("rsa", "rsa")):
            run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(door.base / name)])
        yield door
    daemon.close()


ANSWERS: list[tuple[list[str], int, bytes, bytes]] = [
    # arguments of ssh, exit code, output, a part of what standard error says
    ([HOST], 127, b"", b"nix-shim: there is no shell here"),
    ([HOST, "id"], 127, b"", b"nix-shim: `id` is not offered here"),
    ([HOST, STDIO + " && id"], 127, b"", b"is not offered here"),
    (["-tt", HOST, STDIO], 255, b"", b"PTY allocation request failed"),
    (["-A", HOST, STDIO], 0, b"hello", b""),
    (["-X", HOST, STDIO], 0, b"hello", b""),
    (["-s", HOST, "sftp"], 255, b"", b"subsystem request failed"),
    (["-R", "0:127.0.0.1:9", "-o", "ExitOnForwardFailure=yes", HOST, STDIO], 255, b"", b"forward"),
    (["-W", "127.0.0.1:22", HOST], 255, b"", b"forwarding failed"),
    (["-w", "0:0", "-o", "ExitOnForwardFailure=yes", HOST, STDIO], 255, b"", b""),
    (["-o", "SetEnv=LANG=C LD_PRELOAD=/tmp/x.so", HOST, STDIO], 0, b"hello", b""),
    (["-o", "SetEnv=SSH_ORIGINAL_COMMAND=id", HOST, STDIO], 0, b"hello", b""),
]


@pytest.mark.parametrize(
    ("arguments", "code", "output", "said"), ANSWERS, ids=[" ".join(row[0]) for row in ANSWERS]
)
def test_only_sessions_are_granted(
    arguments: list[str], code: int, output: bytes, said: bytes, strict_door: GatewayDoor
) -> None:
    command = strict_door.ssh("-o", "LogLevel=INFO", *arguments)
    done = run(command, b"hello")
    assert done.returncode == code, done.stderr
    assert done.stdout == output
    assert said in done.stderr


def test_what_is_offered_is_modern(strict_door: GatewayDoor) -> None:
    done = run(strict_door.ssh("-vv", "-o", "LogLevel=DEBUG2", "-o", "IdentityFile=none", HOST))
    said = done.stderr.decode()
    proposal = said.partition("peer server KEXINIT proposal")[2]
    offered = dict(re.findall(r"debug2: ([A-Za-z ]+): (\S*)", proposal)[:10])
    assert offered["host key algorithms"] == "ssh-ed25519"
    assert set(offered["ciphers ctos"].split(",")) == {
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    }
    assert offered["compression stoc"] == "none"
    kex = set(offered["KEX algorithms"].split(","))
    assert kex - {"ext-info-s", "kex-strict-s-v00@openssh.com"} <= {
        "mlkem768x25519-sha256",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        *(f"ecdh-sha2-nistp{bits}" for bits in (256, 384, 521)),
    }
    assert "kex-strict-s-v00@openssh.com" in kex
    assert not re.search("sha1|md5|cbc|-ctr|dss|ssh-rsa\\b", proposal.partition("debug1: kex:")[0])
    sure = run(strict_door.ssh("-v", "-o", "LogLevel=DEBUG1", f"x@{HOST}", "id")).stderr.decode()
    assert "Authentications that can continue: publickey\n" in sure.replace("\r", "")
    assert "remote software version nix-shim" in sure
    algorithms = re.search(r"server-sig-algs=<(.*?)>", sure)
    assert algorithms is not None
    assert "ssh-rsa" not in algorithms[1].split(",")
    assert "rsa-sha2-256" in algorithms[1].split(",")


# Strangers' packets


def ends(connection: socket.socket) -> bool:
    """Whether the other side closes within 30 seconds."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass
    return True


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"SSH-1.5-old\r\n", id="version 1"),
        pytest.param(b"x" * 100_000, id="a line without end"),
        pytest.param(b"SSH-2.0-x\r\n" + b"\xff\xff\xff\xff" + bytes(64), id="a packet of 4 GiB"),
        pytest.param(b"SSH-2.0-x\r\n" + struct.pack(">Q", 1 << 52), id="a packet of 1 MiB"),
        pytest.param(b"SSH-2.0-x\r\n" + struct.pack(">IBB", 12, 10, 90) + bytes(10), id="no keys"),
        pytest.param(b"SSH-2.0-x\r\n" + struct.pack(">IBB", 12, 10, 50) + bytes(10), id="a login"),
        pytest.param(b"SSH-2.0-x\r\n" + struct.pack(">IBB", 12, 10, 20) + bytes(10), id="cut"),
    ],
)
def test_packets_of_strangers_end_their_connection_only(
    said: bytes, strict_door: GatewayDoor
) -> None:
    with socket.create_connection((HOST, strict_door.port), timeout=30) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(said)
        assert ends(connection)
    assert works(strict_door)


def test_slow_strangers_are_closed_and_leave_room_for_peers(make_door: MakeDoor) -> None:
    door = make_door(settings="login-timeout = 4\nlogins = 4")
    before = door.memory()
    slow = [socket.create_connection((HOST, door.port), timeout=60) for _ in range(40)]
    for connection in slow:
        with contextlib.suppress(OSError):
            connection.sendall(b"SSH-2.0-")
    for connection in slow:
        assert ends(connection)
        connection.close()
    assert works(door)
    assert door.memory() - before < LITTLE


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


# Packets of a peer that means harm


def test_a_peer_gets_no_other_channels(strict_door: GatewayDoor) -> None:
    async def ask() -> list[str]:
        answers = []
        async with connected(strict_door) as connection:
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


def test_environment_is_not_kept(strict_door: GatewayDoor) -> None:
    before = strict_door.memory()

    async def ask() -> bytes:
        env = {f"NAME{number}": "x" * 30_000 for number in range(3000)}
        async with connected(strict_door) as connection:
            done = await connection.run(STDIO, input=b"hello", env=env, encoding=None)
            assert isinstance(done.stdout, bytes)
            return done.stdout

    assert asyncio.run(ask()) == b"hello"
    assert strict_door.memory() - before < LITTLE


def test_a_client_of_tiny_packets_is_not_served(strict_door: GatewayDoor) -> None:
    async def ask() -> None:
        async with connected(strict_door) as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_session(
                    asyncssh.SSHClientSession, STDIO, encoding=None, max_pktsize=1
                )

    asyncio.run(ask())
    assert works(strict_door)


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


def test_a_thousand_failed_logins_cost_little(door: GatewayDoor) -> None:
    wrong = asyncssh.generate_private_key("ssh-ed25519")
    before = door.memory()

    async def attempt(places: asyncio.Semaphore) -> None:
        async with places:
            with pytest.raises(asyncssh.PermissionDenied):
                await connected(door, client_keys=[wrong])

    async def ask() -> None:
        places = asyncio.Semaphore(30)
        attempts = [asyncio.create_task(attempt(places)) for _ in range(1000)]
        async with connected(door) as connection:  # a peer comes in and works meanwhile
            while not all(each.done() for each in attempts):
                done = await connection.run(STDIO, input=b"hello", encoding=None)
                assert done.stdout == b"hello"
        await asyncio.gather(*attempts)

    asyncio.run(ask())
    assert door.memory() - before < LITTLE
    assert plain(door.log).count("login-failed") == 1000


def test_a_client_with_endless_keys_is_cut_off(door: GatewayDoor) -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(60)]

    async def ask() -> None:
        with pytest.raises((asyncssh.ConnectionLost, ConnectionError)):
            await connected(door, client_keys=keys)

    asyncio.run(ask())
    assert works(door)


def connected(door: GatewayDoor, **options: Any) -> Any:
    return asyncssh.connect(
        HOST,
        door.port,
        username="root",
        **{"client_keys": [str(door.base / "attic")], **options},
        known_hosts=None,
        config=None,
    )


# Reload and end


def test_reload_takes_keys_away_and_leaves_sessions(
    make_door: MakeDoor, endings: "Queue[str]"
) -> None:
    door = make_door(peers=("attic", "cellar"))
    assert door.process is not None
    with waiting(door, "-M", f"-S{door.base}/m") as client:
        door.peers = ("cellar",)
        door.configure()
        door.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reloaded" in door.log.read_text())
        assert run(door.ssh(HOST, STDIO)).returncode == 255
        shared = run(door.ssh(f"-S{door.base}/m", HOST, STDIO))  # nor on a connection of before
        assert b"ready" not in shared.stdout
        assert run(door.ssh(HOST, STDIO, peer="cellar")).stdout.startswith(b"ready")
        endings.get(timeout=20)
        assert client.poll() is None
        assert endings.empty()


def test_a_bad_configuration_is_not_taken(door: GatewayDoor) -> None:
    door.config.write_text("nonsense")
    assert door.process is not None
    door.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reload-failed" in door.log.read_text())
    assert works(door)


def test_sessions_may_end_before_the_gateway_does(door: GatewayDoor) -> None:
    assert door.process is not None
    with subprocess.Popen(
        door.ssh(HOST, STDIO), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"one")
        client.stdin.flush()
        assert client.stdout.read(3) == b"one"
        door.process.terminate()
        wait_for(lambda: "stopping" in door.log.read_text())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, door.port))
        client.stdin.write(b"two")
        client.stdin.close()
        assert client.stdout.read() == b"two"
    assert door.process.wait(20) == 0


def test_clients_of_a_gateway_that_ends_are_lost(door: GatewayDoor, endings: "Queue[str]") -> None:
    assert door.process is not None
    with waiting(door):
        door.process.terminate()  # two seconds to drain are configured
        assert endings.get(timeout=20) == "closed"
    assert door.process.wait(20) == 0


def test_a_service_manager_is_told(
    make_door: MakeDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        door = make_door()
        assert door.process is not None
        said = {manager.recv(100) for _ in range(3)}
        assert said == {b"READY=1", b"WATCHDOG=1"}
        door.process.send_signal(signal.SIGHUP)
        while not (reloading := manager.recv(100)).startswith(b"RELOADING=1\nMONOTONIC_USEC="):
            assert reloading == b"WATCHDOG=1"
        assert manager.recv(100) == b"READY=1"
        door.process.terminate()
        while (last := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1"


def test_the_host_key_stays_and_satisfies_a_strict_client(
    door: GatewayDoor, tmp_path: Path
) -> None:
    told = run([str(SHIM), "gateway", "--config", str(door.config), "--show-host-key"])
    line = told.stdout.decode().partition("known_hosts: ")[2].strip()
    known = tmp_path / "known_hosts"
    known.write_text(re.sub(r"^\[[^]]*\]", f"[{HOST}]", line) + "\n")
    command = [
        *("ssh", "-F", "none", "-T", "-i", str(door.base / "attic"), "-p", str(door.port)),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}"),
        *(HOST, STDIO),
    ]
    assert run(command, b"hello").stdout == b"hello"


def plain(log: Path) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
