"""Who comes in, and what is granted, offered and survived: tables for `ssh` and raw packets."""

import asyncio
import contextlib
import re
import signal
import socket
import struct
from collections.abc import Callable

import asyncssh
import pytest

from tests.live.world import GatewayDoor
from tests.shim.gateway.conftest import Daemon
from tests.shim.gateway.talking import (
    HOST,
    LITTLE,
    STDIO,
    connected,
    ends,
    plain,
    run,
    wait_for,
    works,
)

MakeDoor = Callable[..., GatewayDoor]


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
    options: list[str], user: str, comes_in: bool, door: GatewayDoor
) -> None:
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
    arguments: list[str], code: int, output: bytes, said: bytes, door: GatewayDoor
) -> None:
    command = door.ssh("-o", "LogLevel=INFO", *arguments)
    done = run(command, b"hello")
    assert done.returncode == code, done.stderr
    assert done.stdout == output
    assert said in done.stderr


def test_what_is_offered_is_modern(door: GatewayDoor) -> None:
    done = run(door.ssh("-vv", "-o", "LogLevel=DEBUG2", "-o", "IdentityFile=none", HOST))
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
    sure = run(door.ssh("-v", "-o", "LogLevel=DEBUG1", f"x@{HOST}", "id")).stderr.decode()
    assert "Authentications that can continue: publickey\n" in sure.replace("\r", "")
    assert "remote software version nix-shim" in sure
    algorithms = re.search(r"server-sig-algs=<(.*?)>", sure)
    assert algorithms is not None
    assert "ssh-rsa" not in algorithms[1].split(",")
    assert "rsa-sha2-256" in algorithms[1].split(",")


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
def test_packets_of_strangers_end_their_connection_only(said: bytes, door: GatewayDoor) -> None:
    with socket.create_connection((HOST, door.port), timeout=30) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(said)
        assert ends(connection)
    assert works(door)


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


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_failed_logins_cost_little(count: int, make_door: MakeDoor) -> None:
    door = make_door()
    wrong = asyncssh.generate_private_key("ssh-ed25519")
    before = door.memory()

    async def attempt(places: asyncio.Semaphore) -> None:
        async with places:
            with pytest.raises(asyncssh.PermissionDenied):
                await connected(door, client_keys=[wrong])

    async def ask() -> None:
        places = asyncio.Semaphore(30)
        attempts = [asyncio.create_task(attempt(places)) for _ in range(count)]
        async with connected(door) as connection:  # a peer comes in and works meanwhile
            while not all(each.done() for each in attempts):
                done = await connection.run(STDIO, input=b"hello", encoding=None)
                assert done.stdout == b"hello"
        await asyncio.gather(*attempts)

    asyncio.run(ask())
    assert door.memory() - before < LITTLE
    wait_for(lambda: plain(door.log).count("login-failed") == count)


def test_a_client_with_endless_keys_is_cut_off(door: GatewayDoor) -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(60)]

    async def ask() -> None:
        with pytest.raises((asyncssh.ConnectionLost, ConnectionError)):
            await connected(door, client_keys=keys)

    asyncio.run(ask())
    assert works(door)
