"""Fixtures for people who test Nix clients or daemons: `pytest_plugins = ["shim.testing"]`.

| fixture | what it is |
|---|---|
| `nix_stand_in` | a recorded daemon at a socket, for a client under test |
| `nix_replay` | a recorded client, for a daemon under test |
| `nix_record` | a socket before a daemon; what is said there is recorded |

Differences fail the test with an account of what was expected and what came.  Imported by tests
only; `docs/recording.md` has examples.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protocol.store.path import STORE_DIR
from protocol.transcript.compare import USUAL
from protocol.transcript.record import Header, Protocol
from protocol.transcript.replay import Report
from shim import replaying, tape

LONGEST = 1000
"""Characters of a message in the account of a difference."""


def account(report: Report) -> str:
    """What differs, for people; empty if nothing does."""
    return "\n".join(
        f"request {each.exchange}, {each.request}:\n  recorded:\n"
        + "".join(f"    {line[:LONGEST]}\n" for line in each.recorded)
        + "  heard:\n"
        + "".join(f"    {line[:LONGEST]}\n" for line in each.heard)
        for each in report.differences
    )


@pytest.fixture
def nix_sockets() -> Iterator[Path]:
    """A folder for sockets: pytest's own are too long for the 107 bytes of a socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="nix-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def nix_stand_in(nix_sockets: Path) -> Iterator[Callable[..., Path]]:
    """Stand in for recorded daemons: `nix_stand_in(FILE, ...)` gives the socket to connect to.

    One recording is played for each connection, in order.  At the end of the test it fails if a
    client asked something else than was recorded, or did not come.
    """
    stand_ins: list[replaying.StandIn] = []
    with ExitStack() as stack:

        def stand_in(*files: Path, exempt: Iterable[str] = USUAL) -> Path:
            path = nix_sockets / f"stand-in-{len(stand_ins)}"
            stand_ins.append(stack.enter_context(replaying.standing_in(files, path, exempt)))
            return path

        yield stand_in
    for each in stand_ins:
        if each.failure is not None:
            pytest.fail(str(each.failure))
        for file in each.files:
            if file not in each.reports:
                pytest.fail(f"{file}: no client came")
            if each.reports[file].differences:
                pytest.fail(f"{file}:\n{account(each.reports[file])}")


@pytest.fixture
def nix_replay() -> Callable[..., Report]:
    """Ask a living daemon what a recorded client asked: `nix_replay(FILE, SOCKET)`.

    The test fails where the daemon answers otherwise.
    """

    def replay(file: Path, against: Path, exempt: Iterable[str] = USUAL) -> Report:
        report = replaying.replay_client(file, against, exempt)
        if report.differences:
            pytest.fail(f"{file}:\n{account(report)}")
        return report

    return replay


@pytest.fixture
def nix_record(nix_sockets: Path, tmp_path: Path) -> Iterator[Callable[..., tape.Recorder]]:
    """Record what clients and a daemon say: `nix_record(SOCKET_OF_THE_DAEMON)`."""
    with ExitStack() as stack:
        made: list[tape.Recorder] = []

        def record(
            upstream: Path, *, store_dir: str = STORE_DIR, protocol: Protocol = Protocol.WORKER
        ) -> tape.Recorder:
            recorder = tape.Recorder(
                nix_sockets / f"recorder-{len(made)}", tmp_path / f"recordings-{len(made)}"
            )
            made.append(recorder)
            recorder.folder.mkdir()
            header = Header(protocol, store_dir)
            listener = stack.enter_context(tape.listening(recorder.socket))
            threading.Thread(
                target=tape.record_socket,
                args=(
                    listener,
                    upstream,
                    lambda: tape.new_tape(recorder.folder, "session", header),
                    None,
                ),
                daemon=True,
            ).start()
            return recorder

        yield record
