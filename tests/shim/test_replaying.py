"""Recorder, stand-in and replay over real sockets; no Nix is needed."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.transcript.compare import USUAL
from protocol.transcript.record import Direction, RecordingReader
from protocol.transcript.replay import Report
from shim import replaying, tape
from shim.errors import ExitCode, ShimError
from tests.support.recorded import RECORDINGS, name_of

pytest_plugins = ("shim.testing",)

StandIn = Callable[..., Path]
Replay = Callable[..., Report]
Record = Callable[..., tape.Recorder]

SHIM = Path(sys.executable).parent / "nix-shim"


def one(pattern: str) -> Path:
    return next(file for file in RECORDINGS if name_of(file).startswith(pattern))


BUILD = one("2.8.0/worker-build-1")
FAILURES = one("2.34.8/worker-failures-2")


def stream(file: Path, direction: Direction) -> bytes:
    return b"".join(
        frame.data
        for frame in RecordingReader().feed(file.read_bytes())
        if frame.direction is direction
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


@pytest.mark.parametrize("file", [BUILD, FAILURES], ids=name_of)
def test_a_stand_in_answers_as_its_recording_does(
    file: Path, nix_stand_in: StandIn, nix_replay: Replay
) -> None:
    report = nix_replay(file, nix_stand_in(file))
    assert report.compared > 2


def test_what_is_recorded_is_what_was_said(
    nix_stand_in: StandIn, nix_record: Record, nix_replay: Replay
) -> None:
    recorder = nix_record(nix_stand_in(BUILD, FAILURES))
    nix_replay(BUILD, recorder.socket)
    nix_replay(FAILURES, recorder.socket)
    assert [file.name for file in recorder.files] == ["session-1.nixrec", "session-2.nixrec"]
    for made, original in zip(recorder.files, (BUILD, FAILURES), strict=True):
        assert stream(made, Direction.TO_CLIENT) == stream(original, Direction.TO_CLIENT)


def test_a_client_that_asks_something_else_is_told_and_reported(nix_sockets: Path) -> None:
    other = one("2.8.0/worker-upkeep-4")
    with replaying.standing_in([other], nix_sockets / "socket", USUAL | {"settings"}) as stand_in:
        report = replaying.replay_client(BUILD, stand_in.socket)
    assert "the recording goes on with" in report.differences[-1].heard[0]
    assert stand_in.reports[other].differences


def test_a_daemon_that_says_nothing_is_given_up(nix_sockets: Path) -> None:
    path = nix_sockets / "socket"
    with tape.listening(path), pytest.raises(ShimError, match=r"said nothing for 0\.1 s"):
        replaying.replay_client(BUILD, path, patience=0.1)


def test_a_client_that_does_not_come_is_given_up(nix_sockets: Path) -> None:
    with tape.listening(nix_sockets / "socket") as listener:
        played = replaying.replay_server([BUILD], listener, patience=0.1)
        with pytest.raises(ShimError, match=r"no client came within 0\.1 s"):
            next(played)


def test_a_recording_of_another_store_directory_is_named(nix_sockets: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.nixrec"
    moved.write_bytes(BUILD.read_bytes().replace(b"/nix/store", b"/own/store", 1))
    with (
        replaying.standing_in([BUILD], nix_sockets / "socket") as stand_in,
        pytest.raises(ShimError, match="nix-shim record --store-dir"),
    ):
        replaying.replay_client(moved, stand_in.socket)


PYTEST = """
pytest_plugins = ["shim.testing"]

def test_a_client(nix_stand_in):
    from pathlib import Path
    socket = nix_stand_in(Path({file!r}))
    from shim.replaying import replay_client
    {client}
"""


@pytest.mark.parametrize(
    ("client", "says"),
    [
        ("pass", "no client came"),
        ("replay_client(Path({other!r}), socket, exempt={{'settings'}})", "recorded:"),
        ("replay_client(Path({file!r}), socket)", ""),
    ],
    ids=["nobody", "another", "the same"],
)
def test_a_stand_in_fails_the_test_whose_client_is_another(
    client: str, says: str, tmp_path: Path
) -> None:
    names = {"file": str(BUILD), "other": str(one("2.8.0/worker-upkeep-4"))}
    (tmp_path / "test_it.py").write_text(PYTEST.format(client=client.format(**names), **names))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == (1 if says else 0), done.stdout
    assert says in done.stdout


def test_an_old_socket_is_replaced_and_one_in_use_is_not(nix_sockets: Path) -> None:
    path = nix_sockets / "socket"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with tape.listening(path), pytest.raises(ShimError, match="listens at"):
        tape.listen(path)
    assert not path.exists()


def run(*arguments: str | Path, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [SHIM, *arguments], capture_output=True, check=False, timeout=60, input=given
    )


def test_the_commands_record_and_replay(nix_sockets: Path, tmp_path: Path) -> None:
    served, tapped, folder = nix_sockets / "served", nix_sockets / "tapped", tmp_path / "out"
    server = subprocess.Popen(
        [SHIM, "replay", "--server", BUILD, "--listen", served], stderr=subprocess.PIPE
    )
    wait_for(served)
    recorder = subprocess.Popen(
        [SHIM, "record", "--listen", tapped, "--upstream", served, "-o", folder],
        stderr=subprocess.PIPE,
    )
    wait_for(tapped)
    done = run("replay", "--client", BUILD, "--against", tapped)
    assert done.returncode == 0
    assert b"compared, 0 different" in done.stderr
    _, said = server.communicate(timeout=30)
    assert server.returncode == 0
    assert b"0 different" in said
    recorder.terminate()
    recorder.communicate(timeout=30)
    assert recorder.returncode == 0
    assert not tapped.exists()
    (made,) = folder.iterdir()
    assert stream(made, Direction.TO_CLIENT) == stream(BUILD, Direction.TO_CLIENT)


def test_replay_exits_with_1_where_something_differs(nix_sockets: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.nixrec"
    changed.write_bytes(BUILD.read_bytes().replace(b"2.8.0", b"2.8.9"))
    with replaying.standing_in([changed], nix_sockets / "socket") as stand_in:
        done = run("replay", "--client", BUILD, "--against", stand_in.socket)
    assert done.returncode == 1
    assert b"request 0, handshake:" in done.stdout
    assert b"2.8.9" in done.stdout
    with replaying.standing_in([changed], nix_sockets / "socket") as stand_in:
        done = run("replay", "--client", BUILD, "--against", stand_in.socket, "--exempt", "release")
    assert done.returncode == 0


def test_a_program_is_recorded_in_its_place(tmp_path: Path) -> None:
    done = run("record", "-o", tmp_path, "--stem", "cat", "--", "cat", given=b"what is said")
    assert done.returncode == 0
    assert done.stdout == b"what is said"
    file = tmp_path / "cat-1.nixrec"
    assert stream(file, Direction.TO_SERVER) == stream(file, Direction.TO_CLIENT) == done.stdout


def test_both_ends_can_be_told_an_older_version(tmp_path: Path) -> None:
    done = run(
        *("record", "-o", tmp_path, "--offer", "1.21", "--", "cat"),
        given=bytes(8) + (0x126).to_bytes(8, "little") + b"rest",
    )
    assert done.stdout == bytes(8) + (0x115).to_bytes(8, "little") + b"rest"


def test_a_programs_exit_code_is_ours(tmp_path: Path) -> None:
    assert run("record", "-o", tmp_path, "--", "sh", "-c", "exit 7").returncode == 7


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("record", "-o", "{tmp}"), ExitCode.USAGE, "give either --listen and --upstream"),
        (("record", "-o", "{tmp}", "--listen", "x"), ExitCode.USAGE, "give either"),
        (("record", "-o", "{tmp}", "--offer", "new", "cat"), ExitCode.USAGE, "`new`"),
        (("record", "-o", "{tmp}", "--", "no-such-program"), ExitCode.UNAVAILABLE, "no-such"),
        (("record", "-o", "/dev/null/x", "cat"), ExitCode.FAILURE, "cannot record into"),
        (("replay", "--client", "{tmp}/absent"), ExitCode.USAGE, "give --client and --against"),
        (
            ("replay", "--client", "{tmp}/absent", "--against", "{tmp}/no"),
            ExitCode.FAILURE,
            "cannot read",
        ),
        (
            ("replay", "--client", str(BUILD), "--against", "{tmp}/no"),
            ExitCode.UNAVAILABLE,
            "cannot reach",
        ),
        (
            ("replay", "--client", "/dev/null", "--against", "{tmp}/no"),
            ExitCode.DATA,
            "the recording is empty",
        ),
        (
            ("replay", "--client", "/etc/passwd", "--against", "{tmp}/no"),
            ExitCode.DATA,
            "not a recording",
        ),
        (("replay", "--server", "{cut}", "--listen", "{tmp}/no"), ExitCode.DATA, "in the middle"),
        (
            ("replay", "--server", str(BUILD), "--listen", "{tmp}/no/no"),
            ExitCode.UNAVAILABLE,
            "cannot listen at",
        ),
    ],
)
def test_mistakes_are_named(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(BUILD.read_bytes()[:30])
    done = run(*(each.format(tmp=tmp_path, cut=cut) for each in arguments))
    assert done.returncode == code
    assert says in done.stderr.decode()


def test_exemptions_are_listed_with_their_reasons() -> None:
    said = run("replay", "--exemptions").stdout.decode()
    assert "two runs happen at two times" in said
    assert said.count("(usual)") == len(USUAL)
