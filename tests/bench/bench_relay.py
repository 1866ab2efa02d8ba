"""What the shim costs between a client and a nix-daemon, measured in turn with the daemon itself.

    python -m tests.bench.bench_relay [MEGABYTES] [SMALL PATHS] [RUNS]

The client is ours, over the protocol, and asks the same of the daemon's own socket and of the shim
in front of it: as an operator, who is joined to the daemon byte by byte, and as a peer, whose
requests are decoded and encoded anew.  Sessions and memory: a daemon that holds many at once.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from protocol.nar.events import Data, End, Regular
from protocol.nar.writer import NarWriter
from protocol.store import base32
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.wire.operation import Request
from protocol.worker import multiple
from protocol.worker.client import ClientConnection
from protocol.worker.events import Failed, Replied, ReplyData, ReplyEnd, Welcomed
from protocol.worker.messages import (
    AddMultipleToStore,
    AddToStoreNar,
    NarFromPath,
    QueryPathInfo,
)
from shim.preamble import Preamble
from tests.live import world
from tests.live.sidebyside import both

RUNS: Final = 7
CHUNK: Final = 1 << 20
SESSIONS: Final = 200
COPIES: Final = 20

BLOCK: Final = os.urandom(CHUNK)


class Asker:
    """Our client on a blocking socket."""

    def __init__(self, path: Path, head: bytes = b"") -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._connection = ClientConnection()
        self._socket.sendall(head + self._connection.hello())
        self._hear(Welcomed)

    def _hear(self, wanted: type) -> Any:
        while True:
            event = self._connection.next_event()
            if said := self._connection.to_send():
                self._socket.sendall(said)
            if isinstance(event, wanted):
                return event
            assert not isinstance(event, Failed), event.error.message
            if event is None:
                self._connection.receive(self._socket.recv(1 << 18))

    def ask(self, request: Request[Any]) -> Any:
        """The answer to a question without bodies."""
        self._socket.sendall(self._connection.ask(request))
        return self._hear(Replied).value

    def download(self, path: StorePath) -> int:
        """Fetch a NAR; its size."""
        self.ask(NarFromPath(path))
        size = 0
        while True:
            event = self._connection.next_event()
            if isinstance(event, ReplyData):
                size += len(event.data)
            elif isinstance(event, ReplyEnd):
                return size
            elif event is None:
                self._connection.receive(self._socket.recv(1 << 18))

    def upload(self, path: StorePath, info: PathInfo, pieces: Iterator[bytes]) -> None:
        """Add a path."""
        request = AddToStoreNar(path, info, dont_check_signatures=True)
        self._socket.sendall(self._connection.ask(request))
        for piece in pieces:
            self._socket.sendall(self._connection.body(piece))
        self._socket.sendall(self._connection.body_end())
        self._hear(Replied)

    def upload_many(self, items: list[tuple[StorePath, PathInfo, bytes]]) -> None:
        """Add many paths by one request, as clients since Nix 2.5 do."""
        self._socket.sendall(self._connection.ask(AddMultipleToStore(dont_check_signatures=True)))
        self._socket.sendall(self._connection.body(multiple.count(len(items))))
        for path, info, contents in items:
            self._socket.sendall(self._connection.body(multiple.info(path, info) + contents))
        self._socket.sendall(self._connection.body_end())
        self._hear(Replied)

    def close(self) -> None:
        """Leave."""
        self._socket.close()


def nar(size: int) -> Iterator[bytes]:
    """The NAR of a file of `size` bytes."""
    writer = NarWriter()
    yield writer.write(Regular(executable=False, size=size))
    while size:
        piece = BLOCK[:size]
        size -= len(piece)
        yield writer.write(Data(piece))
    yield writer.write(End())


class Content:
    """What is uploaded again and again, each time as another path."""

    def __init__(self, size: int) -> None:
        digest, length = sha256(), 0
        for piece in nar(size):
            digest.update(piece)
            length += len(piece)
        self.size = size
        self.info = PathInfo(nar_hash=Hash(HashAlgorithm.SHA256, digest.digest()), nar_size=length)

    def path(self) -> StorePath:
        """A path that nobody has."""
        return StorePath.of(f"{base32.encode(os.urandom(20))}-relayed")

    def pieces(self) -> Iterator[bytes]:
        """Its NAR."""
        return nar(self.size)


@dataclass
class Machine:
    """A nix-daemon, and the shim before it."""

    base: Path
    daemon: "subprocess.Popen[bytes]"
    shim: "subprocess.Popen[bytes]"

    @property
    def ways(self) -> dict[str, Callable[[], Asker]]:
        """Each way to the store."""
        preamble = Preamble("attic").render()
        return {
            "daemon": lambda: Asker(self.base / "daemon.sock"),
            "operator": lambda: Asker(self.base / "shim.sock"),
            "peer": lambda: Asker(self.base / "shim.sock", preamble),
        }

    def resident(self) -> float:
        """Memory of the shim in MiB."""
        status = Path(f"/proc/{self.shim.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


CONFIG: Final = """\
socket = "{base}/shim.sock"
state-directory = "{base}/state"
[serving]
root = "{base}/store"
socket = "{base}/daemon.sock"
start = false
[limits]
sessions = 1000
[peers.attic]
sessions = 500
"""


@contextmanager
def machine(base: Path) -> Iterator[Machine]:
    """Both, running."""
    config = base / "shim.toml"
    config.write_text(CONFIG.format(base=base))
    quiet = (base / "log").open("wb")
    environ = world.environment(
        NIX_REMOTE=f"local?root={base}/store", NIX_DAEMON_SOCKET_PATH=str(base / "daemon.sock")
    )
    daemon = subprocess.Popen(["nix-daemon"], env=environ, stdout=quiet, stderr=quiet)
    while not world.accepts(base / "daemon.sock"):
        time.sleep(0.05)
    shim = subprocess.Popen(
        [world.SHIM, "serve", "--config", config], env=environ, stdout=quiet, stderr=quiet
    )
    while not world.accepts(base / "shim.sock"):
        assert shim.poll() is None
        time.sleep(0.05)
    try:
        yield Machine(base, daemon, shim)
    finally:
        for process in (shim, daemon):
            process.terminate()
            process.wait(60)


def in_turn(what: str, machine: Machine, run: Callable[[Asker], object], runs: int = RUNS) -> None:
    """Do the same over each way, several times in turn; print how fast each is beside the first."""
    times: dict[str, list[float]] = {name: [] for name in machine.ways}
    for _ in range(runs):
        for name, connect in machine.ways.items():
            asker = connect()
            begin = time.perf_counter()
            run(asker)
            times[name].append(time.perf_counter() - begin)
            asker.close()
    direct = times.pop("daemon")
    print(f"{what:<36} {statistics.median(direct):8.2f} s direct", end="")
    for name, spent in times.items():
        ratio = statistics.median(a / b for a, b in zip(direct, spent, strict=True))
        print(f"   {name} {ratio:.2f}x", end="")
    print(flush=True)


def copies(machine: Machine, megabytes: int, small: int, runs: int) -> None:
    """Bulk and small paths, both ways."""
    large = Content(megabytes << 20)
    tiny = Content(300)
    path = large.path()
    asker = machine.ways["daemon"]()
    asker.upload(path, large.info, large.pieces())
    paths = [tiny.path() for _ in range(small)]
    for each in paths:
        asker.upload(each, tiny.info, tiny.pieces())
    asker.close()

    def download_small(asker: Asker) -> None:
        for each in paths:
            asker.ask(QueryPathInfo(each))
            asker.download(each)

    def upload_small(asker: Asker) -> None:
        for _ in range(small):
            asker.upload(tiny.path(), tiny.info, tiny.pieces())

    def upload_at_once(asker: Asker) -> None:
        contents = b"".join(tiny.pieces())
        asker.upload_many([(tiny.path(), tiny.info, contents) for _ in range(small)])

    in_turn(f"download of {megabytes} MiB", machine, lambda asker: asker.download(path), runs)
    in_turn(
        f"upload of {megabytes} MiB",
        machine,
        lambda asker: asker.upload(large.path(), large.info, large.pieces()),
        runs,
    )
    in_turn(f"download of {small} small paths", machine, download_small, runs)
    in_turn(f"upload of {small} small paths", machine, upload_small, runs)
    in_turn(f"upload of {small} small paths at once", machine, upload_at_once, runs)


def sessions(machine: Machine) -> None:
    """What idle sessions cost, those of peers beside those of operators."""
    idle = []
    for name in ("operator", "peer"):
        before = machine.resident()
        idle += [machine.ways[name]() for _ in range(SESSIONS)]
        time.sleep(1)
        each = (machine.resident() - before) / SESSIONS
        print(f"{SESSIONS} idle sessions, {name:<9} {each * 1024:8.0f} KiB each, of the shim")
    for asker in idle:
        asker.close()


def bulk(machine: Machine, megabytes: int) -> None:
    """What many copies at once cost."""
    large = Content(megabytes << 20)
    path = large.path()
    asker = machine.ways["daemon"]()
    asker.upload(path, large.info, large.pieces())
    asker.close()
    for name in ("operator", "peer"):
        before = machine.resident()
        threads = [
            threading.Thread(target=lambda: machine.ways[name]().download(path))  # noqa: B023 - started and joined within the loop's turn
            for _ in range(COPIES)
        ]
        for thread in threads:
            thread.start()
        peak = 0.0
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, machine.resident())
            time.sleep(0.05)
        print(
            f"{COPIES} copies of {megabytes} MiB at once, {name:<9}"
            f" {peak - before:6.0f} MiB of the shim's memory"
        )


TRIVIAL: Final = """\
builtins.genList (n: derivation {
  name = "trivial-${toString n}-%s"; system = "x86_64-linux"; builder = "/bin/sh";
  args = [ "-c" "echo ${toString n} > $out" ];
}) 10
"""


def builds(folder: Path) -> None:
    """Ten trivial derivations, built remotely, by `ssh-ng` without SSH."""
    ratios, direct_times = [], []
    with both(folder, None, None) as sides:
        for number in range(RUNS):
            times = []
            for side in sides:
                (side.base / "ten.nix").write_text(TRIVIAL % number)
                begin = time.perf_counter()
                code, _, said = side.run(
                    "NIX_REMOTE=local?root=$BASE/board nix-build $BASE/ten.nix --no-out-link"
                    " --max-jobs 0 --builders"
                    ' "ssh-ng://localhost?remote-program=$PROGRAM x86_64-linux - 4 1 - - -"'
                )
                times.append(time.perf_counter() - begin)
                assert code == 0, said
            direct_times.append(times[0])
            ratios.append(times[1] / times[0])
    print(
        f"remote build of ten trivial derivations {statistics.median(direct_times):.2f} s"
        f" by nix-daemon, {statistics.median(ratios):.2f}x that through the shim"
    )


def main() -> None:
    """Print all figures."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    small = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else RUNS
    with (
        tempfile.TemporaryDirectory(prefix="relay-") as folder,
        machine(Path(folder)) as machines,
    ):
        sessions(machines)
        copies(machines, megabytes, small, runs)
        bulk(machines, megabytes)
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        builds(Path(folder))


if __name__ == "__main__":
    main()
