"""However a session ends, nothing unproven can be fetched and the next request succeeds."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shim.preamble import Preamble
from tests.live import world
from tests.live.conftest import Pair
from tests.live.world import Board, Shim

Package = Callable[[str], Pair]
MakeShim = Callable[..., Shim]
MakeBoard = Callable[..., Board]

CLIENT_MAGIC = 0x6E697863
WORD = struct.Struct("<Q")


def words(*numbers: int) -> bytes:
    return b"".join(map(WORD.pack, numbers))


HANDSHAKE = Preamble("attic").render() + words(CLIENT_MAGIC, 0x126, 0, 0, 0)
"""A board's client of 1.38 without features, affinity and reserved space."""


@pytest.mark.parametrize("moment", [0.05, 0.3, 0.6, 0.85])
def test_a_killed_shim_leaves_nothing_unproven(
    moment: float, package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    pigz = package("pigz")
    rehearsal = make_shim(pigz, name="rehearsal")
    started = time.monotonic()
    make_board(pigz, name="first").build(pigz.asked, rehearsal.builder())
    whole = time.monotonic() - started
    rehearsal.stop()

    shim, board = make_shim(pigz), make_board(pigz)
    asking = threading.Thread(
        target=lambda: board.build(pigz.asked, shim.builder(), check=False), daemon=True
    )
    asking.start()
    time.sleep(whole * moment)
    shim.kill()
    asking.join(120)
    store = f"local?root={shim.serving_root}"
    if shim.serves(pigz.out):  # the kill came after the import, which only what is proven reaches
        assert (
            "checked-1:"
            in world.run(["nix", "path-info", "--sigs", "--store", store, pigz.out]).stdout
        )
    assert not list((shim.serving_root / "nix/store").glob("*aarch64-unknown*"))
    world.run(["nix-store", "--store", store, "--verify", "--check-contents"])
    shim.start()
    assert board.build(pigz.asked, shim.builder()).stdout.strip() == pigz.out


def test_a_client_that_leaves_takes_its_build_along(package: Package, make_shim: MakeShim) -> None:
    lz4 = package("lz4")
    shim = make_shim(lz4, cross=False)
    world.run(
        ["nix", "copy", "--no-check-sigs", "--to", f"local?root={shim.serving_root}", *lz4.inputs]
    )
    world.run(
        [
            *("nix", "copy", "--no-check-sigs", "--derivation"),
            *("--to", f"local?root={shim.serving_root}", lz4.native),
        ]
    )
    request = f"{lz4.native}!*".encode()
    padded = words(len(request)) + request + bytes(-len(request) % 8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(shim.socket))
        client.sendall(HANDSHAKE + words(46, 1) + padded + words(0))
        wait_for(lambda: "build-started" in shim.log.read_text(), 60)
        wait_for(lambda: emulated(shim, "make"), 120)
        client.shutdown(socket.SHUT_WR)
        wait_for(lambda: not emulated(shim, "make"), 60)
    assert not shim.serves(lz4.out)


def test_a_plant_daemon_that_dies_is_fallen_back_from(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    pair = package("words")
    shim, board = make_shim(pair), make_board(pair)
    told: list[str] = []
    asking = threading.Thread(
        target=lambda: told.append(board.build(pair.asked, shim.builder()).stderr)
    )
    asking.start()
    wait_for(lambda: "build-started" in shim.log.read_text(), 120)
    wait_for(lambda: kill_plant_daemon(shim), 60)
    asking.join(300)
    assert "cross failed" in told[0]
    assert "built under emulation" in told[0]
    other = make_board(pair, name="other")
    world.run(["nix-store", "--store", f"local?root={shim.serving_root}", "--delete", pair.out])
    # It was no fault of the plan, so the plan is tried again, by a daemon that was started anew.
    assert "cross-compiled" in other.build(pair.asked, shim.builder()).stderr


def kill_plant_daemon(shim: Shim) -> bool:
    """Kill the plant daemon and what it has forked; whether it had a connection to serve."""
    found = [
        process
        for process, words in below(shim)
        if words[0].endswith(b"nix-daemon") and b"/plant/socket" in environ(process)
    ]
    if len(found) < 2:  # the listener alone: nobody is connected yet
        return False
    for process in found:
        os.kill(int(process), signal.SIGKILL)
    return True


def environ(process: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/environ").read_bytes()
    return b""


def emulated(shim: Shim, program: str) -> bool:
    """Whether a foreign `program` runs below the shim: the process is the emulator's."""
    for process, words in below(shim):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/exe").readlink().name.startswith("qemu-aarch64") and any(
                word.endswith(program.encode()) for word in words[:3]
            ):
                return True
    return False


def below(shim: Shim) -> Iterator[tuple[str, list[bytes]]]:
    """The processes that descend from the shim, with their command lines."""
    assert shim.process is not None
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, StopIteration):
            if descends(process.name, str(shim.process.pid)):
                yield process.name, process.joinpath("cmdline").read_bytes().split(b"\0")


def descends(process: str, ancestor: str) -> bool:
    """Whether `ancestor` is among the parents of `process`."""
    while process not in {"0", "1", ancestor}:
        status = Path(f"/proc/{process}/status").read_text()
        process = next(line.split()[1] for line in status.splitlines() if line[:5] == "PPid:")
    return process == ancestor


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"", id="another protocol"),
        pytest.param(words(CLIENT_MAGIC, 0x126, 1 << 60), b"", id="a flood of features"),
        pytest.param(HANDSHAKE + words(4711), b"invalid operation 4711", id="unknown operation"),
        pytest.param(
            HANDSHAKE + words(26, 10 << 30), b"10737418240", id="an announced 10 GB string"
        ),
        pytest.param(
            HANDSHAKE + words(26, 11) + b"/etc/passwd\0\0\0\0\0", b"/etc/passwd", id="no store path"
        ),
        pytest.param(HANDSHAKE + words(31, 1 << 40), b"1099511627776", id="endless set"),
        pytest.param(HANDSHAKE + words(1, 80) + b"/nix/st", b"", id="cut off"),
        pytest.param(b"nix-shim" + words(1 << 40), b"", id="a preamble without end"),
        pytest.param(b"nix-shim" + words(2) + b"{}", b"", id="a preamble without a peer"),
    ],
)
def test_bad_input_ends_one_session_with_a_clear_error(
    sent: bytes, answer: bytes, bad_input_shim: Shim
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(bad_input_shim.socket))
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(1 << 16):
                received += data
    assert answer in received
    store = f"unix://{bad_input_shim.socket}"
    assert world.run(["nix", "store", "ping", "--store", store]).returncode == 0


@pytest.fixture(scope="module")
def bad_input_shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    shim = Shim(tmp_path_factory.mktemp("bad-input"), cross=False)
    with shim:
        yield shim
