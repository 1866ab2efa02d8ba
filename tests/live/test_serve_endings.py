"""How serve and command sessions end, and what becomes of the builds that they asked for."""

import contextlib
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.serve.connection import ClientConnection
from protocol.serve.messages import BuildDerivation
from protocol.serve.values import BuildOptions
from shim.channels import Channel, Frames
from shim.preamble import Preamble, Speaks
from tests.live import quick
from tests.live.quick import FAR_MARK, Quick
from tests.live.world import GatewayDoor, Shim

GRACE = 600


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Quick:
    return quick.make(tmp_path_factory.mktemp("quick"))


@pytest.fixture
def shim(made: Quick, tmp_path: Path) -> Iterator[Shim]:
    with Shim(tmp_path / "shim", cross=False, deadlines={"grace": GRACE, "drain": 1}) as shim:
        made.put(shim.serving_root)
        yield shim


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    """One shim for all that breaks nothing but its own session."""
    with Shim(tmp_path_factory.mktemp("lasting"), cross=False) as shim:
        yield shim


class Door:
    """A relay's connection to the daemon."""

    def __init__(self, shim: Shim, preamble: Preamble) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.socket.connect(str(shim.socket))
        self.socket.sendall(preamble.render())
        self.frames = Frames()
        self.heard: dict[Channel, bytes] = dict.fromkeys(
            (Channel.STDOUT, Channel.STDERR, Channel.EXIT), b""
        )

    def __enter__(self) -> "Door":  # noqa: PYI034 - never subclassed
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def until(self, condition: Callable[[], bool]) -> None:
        """Listen until it holds, or nothing more comes."""
        while not condition() and (data := self.socket.recv(1 << 16)):
            for channel, payload in self.frames.feed(data):
                self.heard[channel] += payload


def served(shim: Shim, made: Quick, *, tells_endings: bool = True) -> Door:
    """A serve session that waits for the build of `far`."""
    arguments = ("--write",)
    door = Door(shim, Preamble("attic", Speaks.SERVE, arguments, tells_endings))
    connection = ClientConnection()
    door.socket.sendall(connection.hello())
    door.until(lambda: len(door.heard[Channel.STDOUT]) == 16)
    connection.receive(door.heard[Channel.STDOUT])
    connection.next_event()
    request = BuildDerivation(made.drvs["far"], made.flat("far"), BuildOptions())
    door.socket.sendall(connection.ask(request))
    return door


def commanded(shim: Shim, made: Quick) -> Door:
    """A command that waits for it."""
    words = ("nix-store", "--realise", made.drvs["far"])
    return Door(shim, Preamble("attic", Speaks.COMMAND, words, tells_endings=True))


KINDS = pytest.mark.parametrize("ask", [served, commanded])
Ask = Callable[[Shim, Quick], Door]


@KINDS
def test_a_build_ends_with_a_client_that_leaves(ask: Ask, shim: Shim, made: Quick) -> None:
    with ask(shim, made) as door:
        door.until(lambda: b"\nbegun\n" in door.heard[Channel.STDERR])
        wait_for(is_made)
        door.socket.shutdown(socket.SHUT_WR)
        if ask is served:
            door.until(lambda: False)
            assert door.heard[Channel.EXIT] == b"\0"
        else:  # the end of standard input is not that of the client
            time.sleep(2)
            assert is_made()
    wait_for(lambda: not is_made())
    wait_for(lambda: "vanished=False" in plain(shim))


@KINDS
def test_a_build_outlives_a_client_that_vanishes(ask: Ask, shim: Shim, made: Quick) -> None:
    with ask(shim, made) as door:
        door.until(lambda: b"\nbegun\n" in door.heard[Channel.STDERR])
    wait_for(lambda: "vanished=True" in plain(shim))
    wait_for(is_made)
    # Who asks again, in whatever way, hears the same build from its start.
    with commanded(shim, made) as door:
        door.until(lambda: b"\nbegun\n" in door.heard[Channel.STDERR])
    assert plain(shim).count("build-started") == 1


def test_a_command_ends_with_an_ssh_that_is_interrupted(
    shim: Shim, made: Quick, tmp_path: Path
) -> None:
    with GatewayDoor(tmp_path / "door", shim.socket) as door:
        line = door.ssh("root@127.0.0.1", "nix-store", "--realise", made.drvs["far"])
        with subprocess.Popen(
            [str(word) for word in line], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as asking:
            wait_for(is_made)
            asking.send_signal(signal.SIGINT)
            asking.wait(60)
        wait_for(lambda: not is_made())
    wait_for(lambda: "vanished=False" in plain(shim))


def test_a_reset_is_no_goodbye(shim: Shim, made: Quick) -> None:
    with served(shim, made, tells_endings=False):
        wait_for(is_made)  # what it said meanwhile is never read, so that closing is a reset
    wait_for(lambda: "vanished=True" in plain(shim))
    assert is_made()


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no client of the serve protocol"),
        (struct.pack("<QQQ", 0x390C9DEB, 0x208, 4711), "4711"),
        (struct.pack("<QQQQ", 0x390C9DEB, 0x208, 3, 1 << 60), "at most"),
        (struct.pack("<QQQQQQ", 0x390C9DEB, 0x208, 1, 0, 0, 1 << 50), "at most"),
        (struct.pack("<QQQQ", 0x390C9DEB, 0x208, 4, 2), "neither a NAR"),
        (struct.pack("<QQQ", 0x390C9DEB, 0x308, 3), "only 2.x"),
    ],
)
def test_bad_input_ends_one_session_with_one_clear_line(
    sent: bytes, complaint: str, lasting: Shim
) -> None:
    with Door(lasting, Preamble("attic", Speaks.SERVE, ("--write",))) as door:
        door.socket.sendall(sent)
        with contextlib.suppress(OSError):
            door.socket.shutdown(socket.SHUT_WR)
        door.until(lambda: False)
    assert door.heard[Channel.EXIT] == b"\1"
    said = door.heard[Channel.STDERR].decode()
    assert said.startswith("error: ")
    assert complaint in said
    assert said.count("\n") == 1


def is_made() -> bool:
    """Whether the builder of `far` runs."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if FAR_MARK in process.joinpath("cmdline").read_bytes().split(b"\0"):
                return True
    return False


def plain(shim: Shim) -> str:
    """The shim's log without colours."""
    return shim.log.read_text().replace("\x1b[35m", "").replace("\x1b[0m", "")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.parametrize("busy", [False, True])
def test_a_session_that_asks_nothing_does_not_hold_up_the_end(
    busy: bool, made: Quick, tmp_path: Path
) -> None:
    deadlines = {"drain": 8, "shutdown": 1}
    with Shim(tmp_path / "shim", cross=False, deadlines=deadlines) as shim:
        made.put(shim.serving_root)
        with served(shim, made) if busy else greeted(shim) as door:
            if busy:
                wait_for(is_made)
            assert shim.stop() == 0
            door.until(lambda: False)
    assert ("stopped-at-once" in plain(shim)) is busy


def greeted(shim: Shim) -> Door:
    """A serve session in which nothing is asked."""
    door = Door(shim, Preamble("attic", Speaks.SERVE, ("--write",), tells_endings=True))
    door.socket.sendall(ClientConnection().hello())
    door.until(lambda: len(door.heard[Channel.STDOUT]) == 16)
    wait_for(lambda: "standing=peer" in plain(shim))
    return door
