"""How the daemon ends, turns away and takes over changes, while others build."""

import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from protocol.store.build_result import BuildStatus
from protocol.store.derived_path import ALL_OUTPUTS, Built
from protocol.worker import messages as m
from protocol.worker.client import ClientConnection
from protocol.worker.events import ReplyData
from tests.live import flights, talking, world
from tests.live.flights import wait_for
from tests.live.talking import Hung, Refused, Sayings, Talker
from tests.live.world import Shim

Make = Callable[..., Shim]


@pytest.fixture(scope="module")
def sayings(tmp_path_factory: pytest.TempPathFactory) -> Sayings:
    return talking.make(tmp_path_factory.mktemp("sayings"))


@pytest.fixture
def make(tmp_path: Path, sayings: Sayings) -> Iterator[Make]:
    """Start a shim that has the derivations."""
    running: list[Shim] = []

    def start(**settings: Any) -> Shim:
        shim = Shim(tmp_path / "shim", cross=False, **settings)
        sayings.put(shim.serving_root, ["plain", "napping"])
        running.append(shim)
        shim.start()
        return shim

    yield start
    for shim in running:
        shim.__exit__()


class Background:
    """A request in a thread: how it ended."""

    def __init__(self, shim: Shim, sayings: Sayings, name: str) -> None:
        self.outcome: Any = None
        self.nar = b""
        self._talker = Talker(shim)
        self._asked = (Built(sayings.drvs[name], ALL_OUTPUTS),)
        self._out = sayings.out(name)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_for(lambda: "build-started" in shim.log.read_text())

    def _run(self) -> None:
        with self._talker as talker:
            try:
                ((_, self.outcome),) = talker.ask(m.BuildPathsWithResults(self._asked))
                self.nar = talker.ask(m.NarFromPath(self._out))
            except (Refused, Hung) as error:
                self.outcome = error

    def join(self) -> Any:
        """Wait for the end."""
        self._thread.join(60)
        return self.outcome


def terminate(shim: Shim) -> None:
    assert shim.process is not None
    shim.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in shim.log.read_text())


def test_a_stopping_daemon_finishes_builds_and_turns_others_away(
    make: Make, sayings: Sayings
) -> None:
    shim = make(deadlines={"shutdown": 1})
    with Talker(shim) as idle:
        building = Background(shim, sayings, "napping")
        terminate(shim)
        with pytest.raises(Refused, match="being stopped"):
            Talker(shim)
        turned = world.run(["nix", "store", "ping", "--store", shim.uri()], check=False)
        assert turned.returncode != 0
        assert "being stopped" in turned.stderr
        over_ssh = world.run(["nix", "store", "ping", "--store", shim.uri("ssh")], check=False)
        assert over_ssh.returncode != 0
        with pytest.raises((Hung, BrokenPipeError)):
            wait_for(lambda: idle.ask(m.QueryAllValidPaths()) is None, 10)
        assert building.join().status is BuildStatus.BUILT
        assert building.nar == talking.file_nar(b"\n")
    assert shim.process is not None
    assert shim.process.wait(20) == 0


def test_a_slow_download_is_no_idle_session(make: Make) -> None:
    shim = make(deadlines={"shutdown": 1})
    large = talking.proven("large", bytes(8 << 20))
    with Talker(shim) as talker:
        talker.upload(large)
        assert talker.ask(m.QueryPathInfo(large.path)) is not None
        talker.socket.sendall(talker.connection.ask(m.NarFromPath(large.path)))
        wait_for(lambda: shim_is_sending(talker))
        terminate(shim)
        time.sleep(3)  # longer than an idle session lives on
        assert talker.answer(with_body=True) == large.nar


def test_an_operators_download_goes_on_while_bytes_pass(make: Make) -> None:
    shim = make(deadlines={"shutdown": 2})
    large = talking.proven("large", bytes(4 << 20))
    with Talker(shim, None) as talker:
        talker.upload(large)
        talker.socket.sendall(talker.connection.ask(m.NarFromPath(large.path)))
        terminate(shim)
        received = b""
        for _ in range(16):  # the whole takes twice as long as an idle session lives on
            time.sleep(0.25)
            talker.connection.receive(talker.socket.recv(1 << 18))
            while (event := talker.connection.next_event()) is not None:
                received += event.data if isinstance(event, ReplyData) else b""
        assert received + talker.answer(with_body=True) == large.nar


def shim_is_sending(talker: Talker) -> bool:
    return bool(talker.socket.recv(1, socket.MSG_PEEK))


def test_a_second_signal_ends_it_at_once(make: Make, sayings: Sayings) -> None:
    shim = make()
    building = Background(shim, sayings, "napping")
    terminate(shim)
    terminate(shim)
    assert shim.process is not None
    assert shim.process.wait(5) == 0
    assert building.join() is not None
    assert not shim.serves(sayings.out("napping"))


def test_a_build_may_not_hold_up_the_end_for_ever(make: Make, sayings: Sayings) -> None:
    shim = make(deadlines={"drain": 1, "shutdown": 1})
    Background(shim, sayings, "napping")
    terminate(shim)
    assert shim.process is not None
    assert shim.process.wait(5) == 0


def test_beyond_the_limit_clients_are_told_in_the_handshake(make: Make) -> None:
    shim = make(more="[limits]\nsessions = 2\n")
    with Talker(shim), Talker(shim, "other"):
        with pytest.raises(Refused, match=r"limits\.sessions"):
            Talker(shim, "third")
        turned = world.run(["nix", "store", "ping", "--store", shim.uri()], check=False)
        assert "limits.sessions" in turned.stderr
    wait_for(lambda: pinged(shim))


def pinged(shim: Shim) -> bool:
    found = world.run(["nix", "store", "ping", "--store", shim.uri()], check=False)
    return found.returncode == 0


def test_a_lack_of_files_ends_nothing(make: Make) -> None:
    shim = make()
    assert shim.process is not None
    pid, files = shim.process.pid, resource.RLIMIT_NOFILE
    soft, hard = resource.prlimit(pid, files)
    resource.prlimit(pid, files, (len(list(Path(f"/proc/{pid}/fd").iterdir())) + 3, hard))
    with ExitStack() as waiting:
        for _ in range(10):
            client = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.connect(str(shim.socket))
        wait_for(lambda: "Too many open files" in shim.log.read_text())
        resource.prlimit(pid, files, (soft, hard))
        assert pinged(shim)


def test_operators_may_take_their_time(make: Make) -> None:
    shim = make(deadlines={"handshake": 1})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(shim.socket))
        time.sleep(2)
        client.sendall(ClientConnection().hello())
        assert len(client.recv(8)) == 8


def test_silent_clients_are_let_go(make: Make) -> None:
    shim = make(deadlines={"handshake": 1, "idle": 1})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.settimeout(10)
        mute.connect(str(shim.socket))
        assert mute.recv(1) == b""
    with Talker(shim) as talker:
        assert talker.socket.recv(1) == b""
    assert re.search("silent for 1 s", shim.log.read_text())


def test_peers_and_rules_are_read_anew(make: Make, sayings: Sayings) -> None:
    shim = make()
    asked = m.BuildPathsWithResults((Built(sayings.drvs["plain"], ALL_OUTPUTS),))
    with Talker(shim) as talker:
        reload(shim, '[[rules]]\npeers = ["attic"]\nemulate = false\n', "reloaded")
        ((_, refused),) = talker.ask(asked)
        assert "policy.emulate is off" in refused.error_message
        reload(shim, "[limits]\nbuilds = 7\n", "needs-restart")
        reload(shim, "no toml", "reload-failed")
        ((_, built),) = talker.ask(asked)
        assert built.status is BuildStatus.BUILT


def reload(shim: Shim, more: str, expected: str) -> None:
    seen = shim.log.read_text().count(expected)
    shim.more = more
    shim.configure()
    assert shim.process is not None
    shim.process.send_signal(signal.SIGHUP)
    wait_for(lambda: shim.log.read_text().count(expected) > seen)


def test_a_lost_nix_daemon_is_told_and_the_next_request_succeeds(
    make: Make, sayings: Sayings
) -> None:
    shim = make()
    with Talker(shim) as talker:
        assert not talker.ask(m.IsValidPath(sayings.out("plain")))
        flights.kill_all(flights.daemons(shim, "serving"))
        with pytest.raises(Refused, match="serving nix-daemon"):
            talker.ask(m.IsValidPath(sayings.out("plain")))
        wait_for(lambda: answered(talker, sayings))


def answered(talker: Talker, sayings: Sayings) -> bool:
    try:
        talker.ask(m.IsValidPath(sayings.out("plain")))
    except Refused:
        return False
    return True
