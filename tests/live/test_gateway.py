"""Boards come in by the gateway with Nix's own clients, by both protocols."""

import base64
import os
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from shim.preamble import Preamble
from tests.live import quick, world
from tests.live.conftest import Pair
from tests.live.world import Board, GatewayDoor, Shim

Package = Callable[[str], Pair]
MakeShim = Callable[..., Shim]
MakeBoard = Callable[..., Board]

HOST = "root@127.0.0.1"
PROTOCOLS = ["ssh-ng", "ssh"]

FLAKES = "nix --extra-experimental-features 'nix-command flakes'"

GREETING = struct.pack("<QQ", 0x6E697863, 0x126)
ANSWER = struct.pack("<Q", 0x6478696F)
"""The first words of Nix's worker protocol."""


@dataclass(frozen=True)
class House:
    """A shim and a gateway in front of it."""

    shim: Shim
    door: GatewayDoor

    def nix(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a client that may come in."""
        environ = world.environment(NIX_SSHOPTS=self.door.options())
        return world.run(arguments, check=check, environ=environ)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    base = tmp_path_factory.mktemp("gateway")
    with (
        Shim(base / "shim", cross=False) as shim,
        GatewayDoor(base / "door", shim.socket, peers=("attic", "cellar")) as door,
    ):
        yield House(shim, door)


@pytest.mark.parametrize(
    ("suite", "protocol"),
    [
        (None, "ssh"),
        ("trixie", "ssh-ng"),
        *(
            pytest.param(suite, protocol, marks=pytest.mark.long)
            for suite, protocol in [
                (None, "ssh-ng"),
                ("trixie", "ssh"),
                *(("sid", each) for each in PROTOCOLS),
            ]
        ),
    ],
)
def test_a_board_has_its_build_planted(
    suite: str | None,
    protocol: str,
    package: Package,
    make_shim: MakeShim,
    make_board: MakeBoard,
    tmp_path: Path,
) -> None:
    pigz = package("pigz")
    shim, board = make_shim(pigz), make_board(pigz, suite=suite)
    with GatewayDoor(tmp_path / "door", shim.socket) as door:
        builder = door.builder(protocol)
        built = board.build(pigz.asked, builder, NIX_SSHOPTS=door.options())
    assert built.stdout.strip() == pigz.out
    assert "pigz-2.8: cross-compiled at its native path" in built.stderr
    assert "ARM aarch64" in world.run(["file", "-L", board.physical(pigz.out) / "bin/pigz"]).stdout


def test_a_board_needs_only_a_key_and_the_host_key(house: House, tmp_path: Path) -> None:
    """Hooks put both of a machine's line into the store's URL; no file of `ssh`'s is asked."""
    told = world.run([world.SHIM, "gateway", "--config", house.door.config, "--show-host-key"])
    host_key = told.stdout.partition("publicHostKey: ")[2].split()[0]
    world.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"])
    other = base64.b64encode((tmp_path / "other.pub").read_bytes()).decode()
    environ = world.environment(
        NIX_SSHOPTS=f"-F none -p {house.door.port} -o StrictHostKeyChecking=yes"
    )

    def ping(key: str) -> subprocess.CompletedProcess[str]:
        settings = f"ssh-key={house.door.base}/attic&base64-ssh-public-host-key={quote(key)}"
        url = f"ssh-ng://{HOST}?{settings}"
        return world.run(["nix", "store", "ping", "--store", url], check=False, environ=environ)

    assert ping(host_key).returncode == 0
    refused = ping(other)
    assert refused.returncode != 0
    assert "Host key verification failed" in refused.stderr


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_copies_arrive_whole_both_ways(protocol: str, house: House, tmp_path: Path) -> None:
    source = tmp_path / protocol
    source.mkdir()
    (source / "data").write_bytes(os.urandom(3_000_000))
    (source / "link").symlink_to("data")
    path = world.run(["nix-store", "--add", source]).stdout.strip()
    url = f"{protocol}://{HOST}"
    house.nix("nix", "copy", "--no-check-sigs", "--to", url, path)
    assert house.shim.serves(path)
    house.nix(
        "nix", "copy", "--no-check-sigs", "--from", url, "--to", f"local?root={tmp_path}", path
    )
    assert (tmp_path / path[1:] / "data").read_bytes() == (source / "data").read_bytes()


def test_nix_copy_closure_and_store_commands(house: House, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(str(tmp_path))
    path = world.run(["nix-store", "--add", tmp_path / "text"]).stdout.strip()
    house.nix("nix-copy-closure", "--to", HOST, path)
    ssh = house.door.ssh("127.0.0.1")
    assert house.nix(*ssh, "nix-store", "--query", "--requisites", path).stdout.strip() == path
    assert house.nix(*ssh, "nix-store", "--version").stdout.startswith("nix-store (Nix) ")
    exported = subprocess.run(
        [*ssh, "nix-store", "--export", path], capture_output=True, check=True, timeout=60
    ).stdout
    real = subprocess.run(
        ["nix-store", "--export", path], capture_output=True, check=True, env=world.environment()
    ).stdout
    assert exported == real
    refused = house.nix(*ssh, "nix-store", "--gc", check=False)
    assert refused.returncode == 127
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        # nixos-rebuild, and its successor with and without flakes
        (
            "fresh",
            "env PATH=/nix/store/none/bin:$PATH nix-store -r {drv} --add-root /tmp/r --indirect",
        ),
        ("good", "env -i PATH=${{PATH-}} nix-store --realise {drv} --keep-going"),
        (
            "loud",
            f"{FLAKES} build '{{drv}}^*' --print-out-paths --no-link",
        ),
    ],
)
def test_a_machine_is_rebuilt_on_the_builder(
    name: str, words: str, house: House, tmp_path: Path
) -> None:
    """What `nixos-rebuild --build-host` does: copy a derivation, build it there, copy it back."""
    made = quick.make(tmp_path)
    drv = made.drvs[name]
    house.nix("nix-copy-closure", "--to", HOST, drv)
    built = house.nix(*house.door.ssh("127.0.0.1"), words.format(drv=drv)).stdout.split()
    there = sorted(world.outputs(drv).values())
    if "--add-root" in words:
        assert built == ["/tmp/r"]
    else:
        assert sorted(built) == there
    board = f"local?root={tmp_path}/board"
    house.nix("nix-copy-closure", "--store", board, "--from", HOST, *there)
    assert all((tmp_path / "board" / path[1:]).exists() for path in there)


def test_a_stranger_is_told_nothing(house: House, tmp_path: Path) -> None:
    world.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"])
    options = house.door.options().replace(str(house.door.base / "attic"), f"{tmp_path}/stranger")
    done = world.run(
        ["nix", "store", "ping", "--store", f"ssh-ng://{HOST}"],
        check=False,
        environ=world.environment(NIX_SSHOPTS=options),
    )
    assert done.returncode != 0
    assert "Permission denied (publickey)" in done.stderr


def test_a_local_user_cannot_claim_to_be_a_board() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # others reach the socket, as in /run
        with Shim(Path(folder) / "shim", cross=False) as shim:

            def answer(user: int, said: bytes) -> bytes:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    os.seteuid(user)  # what the kernel tells the daemon is who connects
                    try:
                        connection.connect(str(shim.socket))
                    finally:
                        os.seteuid(0)
                    connection.settimeout(30)
                    connection.sendall(said + GREETING)
                    try:
                        return connection.recv(8)
                    except ConnectionResetError:
                        return b""

            preamble = Preamble("attic").render()
            assert answer(65534, preamble) == b""
            assert answer(65534, b"") == ANSWER  # by its own name it may
            assert answer(0, preamble) == ANSWER
            assert "may not speak for others" in shim.log.read_text()


def test_fifty_clients_at_once(house: House) -> None:
    answers: list[int] = []

    def one(protocol: str) -> None:
        done = house.nix("nix", "store", "ping", "--store", f"{protocol}://{HOST}", check=False)
        answers.append(done.returncode)

    threads = [threading.Thread(target=one, args=(PROTOCOLS[n % 2],)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert answers == [0] * 50


@pytest.mark.long
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_gigabyte_each_way_is_the_same_byte_for_byte(
    protocol: str, house: House, tmp_path: Path
) -> None:
    source = tmp_path / protocol
    with source.open("wb") as file:
        for _ in range(1024):
            file.write(os.urandom(1 << 20))
    path = world.run(["nix-store", "--add", source]).stdout.strip()
    url = f"{protocol}://{HOST}"
    try:
        house.nix("nix", "copy", "--no-check-sigs", "--to", url, path)
        there = house.shim.serving_root / path[1:]
        world.run(["cmp", source, there])
        house.nix(
            *("nix", "copy", "--no-check-sigs", "--from", url),
            *("--to", f"local?root={tmp_path}/back", path),
        )
        world.run(["cmp", source, tmp_path / "back" / path[1:]])
    finally:
        world.run(["nix-store", "--delete", path])
    assert house.door.memory() < 200_000_000
