"""What is surprising in real clients and daemons, each thing by a test that names it.

Here: what recordings show.  `ELSEWHERE` lists the tests of the others, and is checked.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.store.derivation import FixedOutput
from protocol.transcript.decode import messages
from protocol.transcript.record import Direction, Frame, RecordingReader
from protocol.worker import events as worker
from protocol.worker.handshake import Trust
from protocol.worker.messages import BuildDerivation
from tests.support.recorded import RECORDINGS, name_of

ROOT = Path(__file__).resolve().parents[3]

ELSEWHERE = {
    "a server speaks its version before it knows the client's": (
        "tests/protocol/worker/test_connection.py",
        "test_the_server_answers_the_magic_before_it_knows_the_version",
    ),
    "2.3 sends an affinity, 2.23 its version twice": (
        "tests/protocol/worker/test_connection.py",
        "test_clients_of_old_are_understood",
    ),
    "the same, through the shim": (
        "tests/live/test_operator.py",
        "test_whatever_is_said_is_answered_by_the_daemon",
    ),
    "clients since 2.24 abort when a framed request is answered early": (
        "tests/protocol/worker/test_connection.py",
        "test_a_framed_request_is_not_answered_early",
    ),
    "a failed upload is read to its end": (
        "tests/protocol/worker/test_connection.py",
        "test_an_upload_may_fail_in_its_middle",
    ),
    "a NAR goes up in three forms": (
        "tests/protocol/worker/test_connection.py",
        "test_a_nar_goes_up",
    ),
    "a daemon that has the path already pulls nothing": (
        "tests/protocol/worker/test_connection.py",
        "test_a_body_that_is_not_wanted_is_not_pulled",
    ),
    "clients up to 2.22 overlook an error before a NAR": (
        "tests/shim/daemon/test_relay.py",
        "test_a_client_up_to_2_22_is_let_go_when_a_nar_fails",
    ),
    "a daemon says where a NAR should be that there is none": (
        "tests/protocol/worker/test_connection.py",
        "test_an_error_in_place_of_a_nar_is_understood",
    ),
    "errors, levels and results are laid out by version": (
        "tests/shim/daemon/test_relay.py",
        "test_logs_and_errors_arrive_as_they_were_said",
    ),
    "daemons since 2.35 lose their place over operations 42 and 43": (
        "tests/shim/daemon/test_relay.py",
        "test_realisations_are_not_asked_of_a_daemon_that_would_lose_its_place",
    ),
    "a daemon's queue of connections holds five": (
        "tests/live/test_operator.py",
        "test_many_connections_at_once_all_get_through",
    ),
    "clients leave a message of the serve protocol unread": (
        "tests/protocol/serve/test_connection.py",
        "test_the_message_that_clients_leave_unread_is_noticed",
    ),
    "a client that is interrupted closes": (
        "tests/live/test_difference.py",
        "test_an_interrupted_client_takes_its_build_along_either_way",
    ),
}


@pytest.mark.parametrize("surprise", ELSEWHERE)
def test_the_test_of_a_surprise_exists(surprise: str) -> None:
    file, name = ELSEWHERE[surprise]
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def named(pattern: str) -> list[Path]:
    return [file for file in RECORDINGS if pattern in file.name]


def events(file: Path) -> Iterator[object]:
    for message in messages([file.read_bytes()]):
        yield message.event


def asked(file: Path) -> list[str]:
    return [event.operation.name for event in events(file) if isinstance(event, worker.Asked)]


def frames(file: Path) -> list[Frame]:
    return list(RecordingReader().feed(file.read_bytes()))


@pytest.mark.parametrize("file", named("worker-hook"), ids=name_of)
def test_over_ssh_no_settings_are_sent(file: Path) -> None:
    assert "SetOptions" not in asked(file)


@pytest.mark.parametrize("file", named("worker-build-1"), ids=name_of)
def test_over_a_socket_settings_come_first(file: Path) -> None:
    assert asked(file)[0] == "SetOptions"


@pytest.mark.parametrize("release", ["2.8.0", "2.26.3", "2.34.8"])
def test_uploads_of_nothing_are_sent(release: str) -> None:
    """Up to 2.34 a hook uploads a list of no paths when everything is there."""
    counts = [
        event.data
        for file in named("worker-hook-")
        if file.parent.name == release
        for event in events(file)
        if isinstance(event, worker.BodyData)
    ]
    assert bytes(8) in counts


def trust_and_builds(file: Path) -> tuple[Trust, set[str]]:
    trust = next(event.trust for event in events(file) if isinstance(event, worker.Welcomed))
    return trust, {name for name in asked(file) if name.startswith("Build")}


@pytest.mark.parametrize("file", named("worker-hook-untrusted"), ids=name_of)
def test_who_is_not_trusted_brings_the_graph_unless_hashes_prove_the_output(file: Path) -> None:
    trust, _ = trust_and_builds(file)
    assert trust is Trust.NOT_TRUSTED
    for event in events(file):
        if isinstance(event, worker.Asked) and isinstance(event.request, BuildDerivation):
            outputs = event.request.derivation.outputs.values()
            assert all(isinstance(output, FixedOutput) for output in outputs)


@pytest.mark.parametrize("file", named("worker-1.35-hook"), ids=name_of)
def test_who_is_trusted_sends_it_flat(file: Path) -> None:
    trust, builds = trust_and_builds(file)
    assert trust is Trust.TRUSTED
    assert builds <= {"BuildDerivation"}


@pytest.mark.parametrize("file", named("worker-1.21-hook"), ids=name_of)
def test_clients_of_1_21_upload_path_by_path(file: Path) -> None:
    assert "AddMultipleToStore" not in asked(file)


@pytest.mark.parametrize("release", ["2.8.0", "2.26.3", "2.34.8"])
def test_the_version_comes_with_the_magic_since_2_23(release: str) -> None:
    file = next(each for each in named("worker-build-1") if each.parent.name == release)
    first = next(frame for frame in frames(file) if frame.direction is Direction.TO_SERVER)
    assert (len(first.data) >= 16) is (release != "2.8.0")


def test_an_interrupted_client_leaves_within_the_answer() -> None:
    for file in named("worker-interrupted"):
        *_, last = asked(file)
        assert last.startswith("Build")
        assert not any(isinstance(event, worker.Replied) for event in after_last_request(file)), (
            name_of(file)
        )


def after_last_request(file: Path) -> list[object]:
    every = list(events(file))
    at = max(index for index, event in enumerate(every) if isinstance(event, worker.Asked))
    return every[at + 1 :]
