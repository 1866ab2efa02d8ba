"""What the units of a service manager rely on: sockets that are passed, READY, and the sandbox."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shim.cli import install
from tests.live import world
from tests.live.conftest import Pair
from tests.live.world import Board, Shim

ACTIVATE = "systemd-socket-activate"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose serving store's nix-daemon is a unit of its own."""
    path = tmp_path / "shim.toml"
    path.write_text(
        f'socket = "{tmp_path}/run/socket"\nstate-directory = "{tmp_path}/state"\n'
        f'systems = ["aarch64-linux"]\n'
        f'[serving]\nroot = "{tmp_path}/serve"\nstart = false\nsocket = "{tmp_path}/serving"\n'
    )
    return path


def ping(where: Path, root: Path) -> subprocess.CompletedProcess[str]:
    uri = f"unix://{where}?root={root}"
    return world.run(["nix", "store", "ping", "--store", uri], check=False, timeout=60)


def test_daemons_are_started_by_their_sockets(tmp_path: Path, config: Path) -> None:
    (tmp_path / "run").mkdir()
    started = []
    units: list[tuple[Path, list[str | Path]]] = [
        (tmp_path / "serving", ["nix-daemon", "serving", "--config", config]),
        (tmp_path / "run/socket", ["serve", "--config", config]),
    ]
    for where, command in units:
        passed = [f"--setenv={name}" for name in ("PATH", "NIX_CONFIG")]
        started.append(
            subprocess.Popen(
                [ACTIVATE, "--listen", where, *passed, world.SHIM, *command],
                env=world.environment(),
                stderr=subprocess.DEVNULL,
            )
        )
    try:
        deadline = time.monotonic() + 30
        while not all((tmp_path / name).exists() for name in ("serving", "run/socket")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # The first connection starts `serve`, whose own first one starts the nix-daemon.
        done = ping(tmp_path / "run/socket", tmp_path / "serve")
        assert done.returncode == 0, done.stderr
    finally:
        for process in started:
            process.terminate()
            process.wait(30)
    assert (tmp_path / "run/socket").exists(), "a socket that was passed is not ours to delete"


def test_the_manager_is_told_when_we_are_ready_and_when_we_stop(tmp_path: Path) -> None:
    where = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(where)
        manager.settimeout(60)
        environ = {"NOTIFY_SOCKET": where, "WATCHDOG_USEC": "400000"}
        with Shim(tmp_path / "shim", cross=False, environ=environ):
            heard = [manager.recv(200) for _ in range(4)]
            assert b"READY=1" in heard
            assert heard.count(b"WATCHDOG=1") > 1
        rest: list[bytes] = []
        manager.settimeout(1)
        while not rest or rest[-1] != b"STOPPING=1":
            rest.append(manager.recv(200))


def sandboxed(unit: str, writable: tuple[Path, ...]) -> tuple[str, ...]:
    """The sandbox of a unit, as far as plain tools of the system can make it."""
    settings = install.units()[f"{unit}.service"]["Service"]
    command = ["unshare", "--mount"]
    if settings.get("PrivateNetwork"):
        command.append("--net")
    script = "set -e\n"
    if settings.get("ProtectSystem") == "strict":
        script += "mount --make-rprivate /\n"
        for path in writable:
            script += f"mount --bind {path} {path}\n"
        script += "mount -o remount,bind,ro /\n"
    bounding = ",".join(
        "+" + name.removeprefix("CAP_").lower() for name in settings["CapabilityBoundingSet"]
    )
    script += f'exec setpriv --no-new-privs --bounding-set=-all,{bounding} "$@"\n'
    return (*command, "bash", "-c", script, unit)


def test_a_plant_succeeds_in_the_sandbox_of_the_unit(
    tmp_path: Path,
    package: Callable[[str], Pair],
    make_board: Callable[..., Board],
) -> None:
    pair = package("lz4")
    base = tmp_path / "shim"
    shim = Shim(
        base,
        tables=[pair.table],
        within=sandboxed("nix-shim", (base,)),
        serving_more=f'start = false\nsocket = "{base}/serving.sock"',
        plant_more=f'start = false\nsocket = "{base}/plant.sock"',
    )
    config = shim.configure()
    daemons = [
        subprocess.Popen(
            [world.SHIM, "nix-daemon", kind, "--config", config], env=world.environment()
        )
        for kind in ("serving", "plant")
    ]
    try:
        while not all(world.accepts(base / f"{kind}.sock") for kind in ("serving", "plant")):
            assert not [each for each in daemons if each.poll() is not None]
            time.sleep(0.05)
        with shim:
            board = make_board(pair)
            done = board.build(pair.asked, shim.builder())
            assert "cross-compiled at its native path" in done.stderr
    finally:
        for process in daemons:
            process.terminate()
            process.wait(30)
