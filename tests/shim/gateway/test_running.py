"""The gateway's life: reload, end, the service manager, the host key."""

import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest

from shim.config import Gateway
from shim.gateway.server import listen
from tests.live.world import SHIM, GatewayDoor, free_port
from tests.shim.gateway.talking import HOST, STDIO, run, wait_for, waiting, works

MakeDoor = Callable[..., GatewayDoor]


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


def test_a_bad_configuration_is_not_taken(make_door: MakeDoor) -> None:
    door = make_door()
    door.config.write_text("nonsense")
    assert door.process is not None
    door.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reload-failed" in door.log.read_text())
    assert works(door)


def test_sessions_may_end_before_the_gateway_does(make_door: MakeDoor) -> None:
    door = make_door()
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


def test_clients_of_a_gateway_that_ends_are_lost(
    make_door: MakeDoor, endings: "Queue[str]"
) -> None:
    door = make_door()
    assert door.process is not None
    with waiting(door):
        door.process.terminate()  # two seconds to drain are configured
        assert endings.get(timeout=20) == "closed"
    assert door.process.wait(20) == 0


def test_both_families_are_listened_to() -> None:
    port = free_port()
    sockets = listen(Gateway(port=port))
    try:
        families = {each.family for each in sockets}
        assert socket.AF_INET in families
        socket.create_connection((HOST, port)).close()
        if socket.AF_INET6 in families:  # not on a machine without IPv6
            socket.create_connection(("::1", port)).close()
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize(
    ("changed", "code", "named"),
    [
        ({}, 69, "cannot listen on `127.0.0.1` port"),
        ({"port": "65000000"}, 78, "gateway.port: `65000000` is no TCP port"),
        ({"key": "ssh-dss AAAA"}, 78, "peers.attic.keys: `ssh-dss`"),
        ({"state": "/proc/none"}, 78, "cannot keep a host key in `/proc/none`"),
    ],
)
def test_what_keeps_it_from_starting_is_named(
    changed: dict[str, str], code: int, named: str, door: GatewayDoor, tmp_path: Path
) -> None:
    config = tmp_path / "shim.toml"
    config.write_text(
        '[serving]\nroot = "/s"\n[gateway]\naddresses = ["127.0.0.1"]\n'
        f"port = {changed.get('port', door.port)}\n"  # somebody listens there already
        f'state-directory = "{changed.get("state", tmp_path)}"\n'
        f"[peers.attic]\nkeys = [{changed.get('key', '')!r}]\n".replace("['']", "[]")
    )
    done = run([str(SHIM), "gateway", "--config", str(config)])
    assert done.returncode == code
    assert named in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


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
