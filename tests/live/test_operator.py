"""An operator's session is the nix-daemon's own, to the byte, except for foreign builds."""

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.nar.events import Data, End, Regular
from protocol.nar.writer import NarWriter
from protocol.store import base32
from protocol.store.derived_path import ALL_OUTPUTS, Built
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Number
from protocol.worker.client import ClientConnection
from protocol.worker.events import Failed, Pull, Replied, ReplyData, ReplyEnd, Welcomed
from protocol.worker.messages import (
    AddTempRoot,
    AddToStoreNar,
    BuildPathsWithResults,
    EnsurePath,
    ExportPath,
    FindRoots,
    ImportPaths,
    IsValidPath,
    NarFromPath,
    QueryPathInfo,
    SetOptions,
)
from protocol.worker.versions import NEWEST
from shim import replaying
from tests.live import world
from tests.live.conftest import Pair
from tests.live.sidebyside import CONFIG, Side
from tests.live.world import Shim

WORD = struct.Struct("<Q")
MAGIC = 0x6E697863


def words(*numbers: int) -> bytes:
    return b"".join(map(WORD.pack, numbers))


def text(value: bytes) -> bytes:
    return words(len(value)) + value + bytes(-len(value) % 8)


@pytest.fixture(scope="module", params=[None, "trixie"], ids=["installed", "trixie"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Path, Side]]:
    """The sockets of a nix-daemon and of the shim before it."""
    side = Side(Path(f"{tmp_path_factory.mktemp('o')}/s"), request.param, None, shim=True)
    side.start()
    yield side.base / "real", side.base / "front", side
    side.stop()


class Nix:
    """Our client, blocking."""

    def __init__(self, path: Path, newest: Number = NEWEST) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.connection = ClientConnection(newest=newest)
        self.socket.sendall(self.connection.hello())
        self.welcome = self.hear(Welcomed)

    def __enter__(self) -> "Nix":  # noqa: PYI034 - never subclassed
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def hear(self, wanted: type, body: bytes = b"") -> object:
        """The next event of that kind; pulls are answered from `body`."""
        while True:
            event = self.connection.next_event()
            if said := self.connection.to_send():
                self.socket.sendall(said)
            match event:
                case None:
                    self.connection.receive(self.socket.recv(1 << 16))
                case Pull(size):
                    self.socket.sendall(self.connection.body(body[:size]))
                    body = body[size:]
                case Failed(error):
                    raise AssertionError(error.message)
                case _ if isinstance(event, wanted):
                    return event

    def ask(self, request: object, body: bytes | None = None) -> object:
        """The answer's value."""
        self.socket.sendall(self.connection.ask(request))  # type: ignore[arg-type]
        if body is not None and not self.connection.pulls:
            self.socket.sendall(self.connection.body(body) + self.connection.body_end())
        replied = self.hear(Replied, body or b"")
        if body is not None and self.connection._form.name == "PULLED":
            self.connection.body_end()
        assert isinstance(replied, Replied)
        return replied.value

    def body(self) -> bytes:
        """The body of the reply that has begun."""
        pieces = []
        while True:
            event = self.connection.next_event()
            match event:
                case None:
                    self.connection.receive(self.socket.recv(1 << 16))
                case ReplyData(data):
                    pieces.append(data)
                case ReplyEnd():
                    return b"".join(pieces)


def a_nar(contents: bytes) -> bytes:
    events = (Regular(executable=False, size=len(contents)), Data(contents), End())
    return NarWriter().write_all(events)


def fresh_path(name: str) -> StorePath:
    return StorePath.of(f"{base32.encode(name.encode().ljust(20, b'.')[:20])}-{name}")


@pytest.mark.parametrize("minor", [21, 22, 23, 25, 27, 29, 30, 32, 34, 38])
def test_clients_of_every_version_get_what_the_daemon_gives(
    pair: tuple[Path, Path, Side], minor: int
) -> None:
    daemon, front, _ = pair
    nar = a_nar(b"contents %d" % minor * 9000)
    path = fresh_path(f"uploaded-{minor}")
    info = PathInfo(nar_hash=Hash.of(nar), nar_size=len(nar))
    with Nix(front, Number(1, minor)) as through, Nix(daemon, Number(1, minor)) as direct:
        assert through.welcome == direct.welcome
        through.ask(AddToStoreNar(path, info, dont_check_signatures=True), nar)
        assert through.ask(IsValidPath(path)) is True
        assert through.ask(QueryPathInfo(path)) == direct.ask(QueryPathInfo(path))
        through.ask(NarFromPath(path))
        assert through.body() == nar


def test_exports_and_imports_pass(pair: tuple[Path, Path, Side]) -> None:
    """Their bodies are pulled: what follows a piece is told apart by what the daemon says."""
    _, front, _ = pair
    nar = a_nar(b"exported")
    path = fresh_path("exported")
    info = PathInfo(nar_hash=Hash.of(nar), nar_size=len(nar))
    with Nix(front) as client:
        client.ask(AddToStoreNar(path, info, dont_check_signatures=True), nar)
        client.ask(ExportPath(path))
        exported = words(1) + client.body() + words(0)
        assert client.ask(ImportPaths(), exported) == frozenset({path})
        assert client.ask(IsValidPath(path)) is True


OPEN = words(MAGIC, 0x122, 0, 0)
NOWHERE = b"/nix/store/00000000000000000000000000000000-x"
SCRIPTS = {
    "no client at all": b"GET / HTTP/1.1\r\n\r\n",
    "an older major": words(MAGIC, 0x050),
    "the affinity of Nix 2.3": words(MAGIC, 0x115, 1, 3, 0, 1) + text(NOWHERE),
    "the version twice, as 2.23 sends it": words(MAGIC, 0x126) + words(0x126, 0, 0) + words(0),
    "a version of the future": words(MAGIC, 0x1FF, 0) + words(0, 0) + words(23),
    "an operation nobody has": OPEN + words(4711),
    "one that forks have": OPEN + words(48),
    "a path that is none": OPEN + words(1) + text(b"/nix/store/short"),
    "a path outside": OPEN + words(26) + text(b"/etc/passwd"),
    "a text that is too long": OPEN + words(1, 1 << 60),
    "padding that is not zero": OPEN + words(29, 1) + b"x" * 8,
    "a request cut short": OPEN + words(1, 40) + b"/nix/store/",
    "a NAR of a path that is missing": OPEN + words(38) + text(NOWHERE),
    "a NAR that is none": OPEN
    + words(39) + text(b"/nix/store/" + b"1" * 32 + b"-x") + text(b"") + text(b"0" * 64)
    + words(0, 0, 8, 0, 0) + text(b"") + words(0, 1) + words(8) + b"no nar!!" + words(0),
    "everything at once": OPEN + words(1) + text(NOWHERE) + words(34),
    "only who it is": words(MAGIC),
    "half a version": words(MAGIC) + b"\x26\x01",
    "only its version": words(MAGIC, 0x126),
    "no reserved space": words(MAGIC, 0x126, 0, 0),
    "no features": words(MAGIC, 0x126, 1),
    "a path to be made, before an answer to anything else": words(MAGIC, 0x126, 0, 0, 0)
    + words(1) + text(NOWHERE) + words(31, 1) + text(NOWHERE) + words(1, 23)
    + words(10) + text(NOWHERE) + words(1) + text(NOWHERE),
}  # fmt: skip
"""What a client may say that no client of ours would."""


def answer(path: Path, said: bytes, size: int = 1 << 16) -> bytes:
    """All that comes back to what is said in pieces of a size, until the other end closes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(path))
        for start in range(0, len(said), size):
            client.sendall(said[start : start + size])
        client.shutdown(socket.SHUT_WR)
        heard = b""
        try:
            while data := client.recv(1 << 16):
                heard += data
        except ConnectionResetError:
            heard += b"RESET"
    heard = re.sub(rb"(?s)(pts-|pid )\d+", rb"\1N", heard)
    # Activities are numbered by process.
    return re.sub(rb"(?s)(TRTS\0{4}|POTS\0{4}|TLSR\0{4}).{8}", rb"\1NNNNNNNN", heard)


GREETING = 8
"""Bytes by which an operator is known; who says fewer is dropped."""


@pytest.mark.parametrize("name", [name for name, said in SCRIPTS.items() if len(said) >= GREETING])
def test_whatever_is_said_is_answered_by_the_daemon(
    pair: tuple[Path, Path, Side], name: str
) -> None:
    daemon, front, _ = pair
    said = SCRIPTS[name]
    assert answer(front, said) == answer(daemon, said)


AHEAD = words(MAGIC, 0x122, 0, 0) + 5 * (
    words(1) + text(NOWHERE) + words(26) + text(NOWHERE) + words(11) + text(NOWHERE)
    + words(10) + text(NOWHERE)
)  # fmt: skip
"""Questions that have answers, and after each a path that is not there."""


@pytest.mark.parametrize("size", [1, 8, 200, 1 << 16])
def test_what_is_asked_ahead_of_answers_is_answered_in_order(
    pair: tuple[Path, Path, Side], size: int
) -> None:
    daemon, front, _ = pair
    wanted = answer(daemon, AHEAD, size)
    for _ in range(5):
        assert answer(front, AHEAD, size) == wanted


@pytest.mark.parametrize("number", [Number(1, 21), NEWEST])
def test_a_missing_path_is_the_daemons_to_refuse(
    pair: tuple[Path, Path, Side], number: Number
) -> None:
    daemon, front, _ = pair
    said, roots = [], []
    for path in (daemon, front):
        with Nix(path, number) as client:
            client.ask(AddTempRoot(StorePath(NOWHERE.decode())))
            for _ in range(2):
                with pytest.raises(AssertionError) as refused:
                    client.ask(EnsurePath(StorePath(NOWHERE.decode())))
                said.append(str(refused.value))
            found = client.ask(FindRoots())
            assert isinstance(found, tuple)
            roots.append([kept for _, kept in found])
    assert said[:2] == said[2:]
    assert roots[0] == roots[1]


def test_more_connections_than_peers_may_hold_get_through(pair: tuple[Path, Path, Side]) -> None:
    _, front, _ = pair
    held = [Nix(front) for _ in range(480)]
    for each in held:
        with each:
            assert isinstance(each.welcome, Welcomed)


def test_many_connections_at_once_all_get_through(pair: tuple[Path, Path, Side]) -> None:
    """nix-daemon 2.8 lets five wait."""
    _, front, _ = pair
    done: list[object] = []

    def come_and_go() -> None:
        with Nix(front) as client:
            done.append(client.welcome)

    threads = [threading.Thread(target=come_and_go) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == len(threads)


def resident(pid: int) -> float:
    """MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1]) / 1024


def test_a_client_that_does_not_listen_costs_no_memory(pair: tuple[Path, Path, Side]) -> None:
    _, front, side = pair
    nar = a_nar(bytes(64 << 20))
    path = fresh_path("large")
    info = PathInfo(nar_hash=Hash.of(nar), nar_size=len(nar))
    with Nix(front) as client:
        client.ask(AddToStoreNar(path, info, dont_check_signatures=True), nar)
    shim = side.running[-1].pid
    before = resident(shim)
    deaf = [Nix(front) for _ in range(5)]
    for each in deaf:
        each.socket.sendall(each.connection.ask(NarFromPath(path)))
    time.sleep(1)
    assert resident(shim) - before < 16
    for each in deaf:
        with each:
            each.hear(Replied)
            assert each.body() == nar


@pytest.fixture
def sided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Side]]:
    made: list[Side] = []

    def make(more: str = "") -> Side:
        side = Side(Path(f"{tmp_path_factory.mktemp('o')}/s"), None, None, shim=True, more=more)
        made.append(side)
        side.start()
        return side

    yield make
    for side in made:
        side.stop()


FOREIGN = """\
derivation {
  name = "foreign"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "echo x > $out" ];
}
"""


@pytest.mark.parametrize("judged", [True, False])
def test_foreign_builds_of_operators_are_judged_unless_switched_off(
    sided: Callable[..., Side], judged: bool
) -> None:
    side = sided(f"judge-operators = {str(judged).lower()}\n")
    (side.base / "foreign.nix").write_text(FOREIGN)
    code, _, said = side.run("nix-build $BASE/foreign.nix --no-out-link")
    assert code != 0
    log = (side.base / "log").read_text()
    assert ("build-started" in log) is judged
    assert ("nix-shim" in said) is judged
    # The session goes on, and other builds are the daemon's.
    assert side.run("nix-build $THINGS -A tree --no-out-link")[0] == 0


def test_a_judged_build_is_seen_by_the_session_that_asked_for_it(
    package: Callable[[str], Pair], make_shim: Callable[..., Shim]
) -> None:
    """A nix-daemon's process remembers what it missed, so another one takes over afterwards."""
    words_ = package("words")
    shim = make_shim(words_)
    store = f"local?root={shim.serving_root}"
    world.run(["nix", "copy", "--no-check-sigs", "--to", store, *words_.inputs])
    world.run(["nix", "copy", "--no-check-sigs", "--derivation", "--to", store, words_.native])
    out, drv = StorePath.parse(words_.out), StorePath.parse(words_.native)
    with Nix(shim.socket) as client:
        client.ask(SetOptions())
        assert client.ask(QueryPathInfo(out)) is None
        results: Any = client.ask(BuildPathsWithResults((Built(drv, ALL_OUTPUTS),)))
        ((_, result),) = results
        assert result.is_success, result.error_message
        info = client.ask(QueryPathInfo(out))
        assert isinstance(info, PathInfo)
        assert any("checked" in each for each in info.signatures)
        client.ask(NarFromPath(out))
        assert Hash.of(client.body()) == info.nar_hash


def test_sessions_are_recorded_and_replay(sided: Callable[..., Side]) -> None:
    side = sided('record-directory = "{base}/recordings"\n')
    folder = side.base / "recordings"
    assert side.run("nix path-info --all; nix store ping")[0] == 0
    side.stop()
    side.running.clear()
    recordings = sorted(folder.glob("uid-0-*.nixrec"))
    assert len(recordings) >= 2
    assert folder.stat().st_mode & 0o077 == 0
    side.shim = False
    side.base.joinpath("front").unlink(missing_ok=True)
    side.restart()
    for file in recordings:
        report = replaying.replay_client(file, side.base / "front")
        assert report.compared
        assert report.differences == []


def test_without_a_daemon_the_client_is_told_so(sided: Callable[..., Side]) -> None:
    side = sided()
    daemon = side.running.pop(0)
    daemon.terminate()
    daemon.wait(20)
    code, _, said = side.run("nix store ping")
    assert code != 0
    assert "cannot reach the serving nix-daemon at `BASE/real`" in said


def test_the_configuration_has_no_plant_store() -> None:
    assert "[plant]" not in CONFIG
