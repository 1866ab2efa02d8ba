"""What is surprising in real clients and daemons, each thing by a test that names it.

Here: what recordings show.  `ELSEWHERE` lists the tests of the others, and is checked.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.serve import events as serve
from protocol.serve.messages import BuildDerivation as ServeBuild
from protocol.store.derivation import FixedOutput
from protocol.store.derived_path import Opaque
from protocol.transcript.decode import messages
from protocol.transcript.record import Direction, Frame, RecordingReader
from protocol.worker import events as worker
from protocol.worker.handshake import Trust
from protocol.worker.messages import BuildDerivation, BuildPathsWithResults, QueryValidPaths
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
    "frames are cut as it pleases, and values straddle them": (
        "tests/protocol/wire/test_bodies.py",
        "test_frames",
    ),
    "what pads a string has to be zero": (
        "tests/protocol/test_common.py",
        "test_the_padding_of_a_path_is_zero",
    ),
    "a banner stands where a number should": (
        "tests/protocol/worker/test_connection.py",
        "test_what_is_no_daemon_is_refused",
    ),
    "old exports have a signature that nobody reads": (
        "tests/protocol/test_exports.py",
        "test_an_obsolete_signature_is_skipped",
    ),
    "whatever version a board has, it brings and takes paths and has builds made": (
        "tests/live/test_peer_versions.py",
        "test_a_path_goes_up_is_asked_about_and_comes_down",
    ),
    "a bare derivation asks for its outputs below 1.30, for itself since": (
        "tests/protocol/worker/test_golden.py",
        "test_derived_paths_are_the_documented_ones",
    ),
    "the outputs of a result come last, and with a failure there are none": (
        "tests/protocol/worker/test_golden.py",
        "test_build_results_are_the_documented_ones",
    ),
    "paths behind one another are laid out as in 1.16 whatever was agreed": (
        "tests/protocol/worker/test_multiple.py",
        "test_paths_and_nars_come_out",
    ),
    "a wrong size would leave the reader in the middle": (
        "tests/protocol/worker/test_multiple.py",
        "test_a_wrong_size_is_refused",
    ),
    "an error said while a request is read is said twice, and the daemon closes": (
        "tests/live/test_daemon_quirks.py",
        "test_an_error_said_twice_before_a_close_costs_no_session",
    ),
    "an upload may be refused before its end": (
        "tests/live/test_daemon_quirks.py",
        "test_an_upload_refused_in_its_midst_is_heard_out",
    ),
    "a daemon talks during an upload, until nobody can write": (
        "tests/live/test_daemon_quirks.py",
        "test_a_daemon_with_much_to_say_during_an_upload_is_heard",
    ),
    "daemons since 2.33.2 leave out results": (
        "tests/live/test_daemon_quirks.py",
        "test_fewer_results_than_asked_for_stay_fewer",
    ),
    "daemons offer versions and features that nobody knows yet": (
        "tests/live/test_daemon_quirks.py",
        "test_a_daemon_of_the_future_is_spoken_to",
    ),
    "builders name outputs by the hash of what they were sent, those since 2.35 not at all": (
        "tests/protocol/store/test_naming.py",
        "test_real_builders_name_them_so",
    ),
    "content-addressed outputs and realisations pass between all releases": (
        "tests/live/test_difference.py",
        "test_nobody_can_tell_the_shim_from_the_daemon",
    ),
    "since 2.34 every signature is parsed": (
        "tests/protocol/store/test_signing.py",
        "test_what_is_no_key_or_signature_is_refused",
    ),
    "since 2.31 structured attributes are written anew on the way": (
        "tests/shim/session/test_claims.py",
        "test_structured_attributes_may_be_written_anew",
    ),
    "up to 2.7 the last of equal inputs wins": (
        "tests/protocol/store/test_modulo.py",
        "test_old_nix_let_the_last_of_equal_inputs_win",
    ),
    "what is told of trust decides how a build is asked for": (
        "tests/live/test_trust.py",
        "test_operators_are_trusted_and_peers_are_not",
    ),
    "build hooks that are not trusted look at no results": (
        "tests/live/test_requests.py",
        "test_why_a_build_failed_is_told_beside_the_result",
    ),
    "who was asked several things answers each": (
        "tests/live/test_requests.py",
        "test_the_same_asked_twice_is_answered_twice_and_built_once",
    ),
    "a daemon since 2.30 may hand a build on to builders of its own": (
        "tests/shim/session/test_settings.py",
        "test_builds_never_leave_this_machine",
    ),
    "what a board is told is valid may be collected before its build": (
        "tests/live/test_flights.py",
        "test_a_collection_takes_nothing_that_builds_use_or_that_was_delivered",
    ),
    "daemons up to 2.32 send whatever lies at a path": (
        "tests/live/test_hostile.py",
        "test_what_lies_in_the_store_unproven_is_not_handed_out",
    ),
    "lines of SSH's standard error may be taken for the hook's": (
        "tests/shim/test_stdio.py",
        "test_a_daemon_that_is_not_there_is_named",
    ),
    "the line that clients ask SSH for differs by version": (
        "tests/live/test_ssh_lines.py",
        "test_what_clients_ask_for_is_understood",
    ),
    "a serve server takes exactly as many bytes as were announced": (
        "tests/protocol/serve/test_connection.py",
        "test_a_nar_is_of_the_size_that_was_announced",
    ),
    "clients take exit codes for results": (
        "tests/protocol/serve/test_results.py",
        "test_failures_are_never_numbers_that_clients_misread",
    ),
    "the error of a command of the serve protocol is its end": (
        "tests/protocol/serve/test_connection.py",
        "test_a_failed_command_is_the_end",
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


@pytest.mark.parametrize("file", named("worker-1.21-hook"), ids=name_of)
def test_clients_of_1_21_cannot_ask_for_substitution(file: Path) -> None:
    for event in events(file):
        if isinstance(event, worker.Asked) and isinstance(event.request, QueryValidPaths):
            assert event.request.substitute is False


@pytest.mark.parametrize("release", ["2.8.0", "2.26.3", "2.34.8"])
def test_a_copy_down_begins_with_a_wish_to_have_it_made(release: str) -> None:
    """Though nothing is a derivation; 2.26 takes the contents by further connections."""
    wishes = [
        event.request.paths
        for file in named("worker-copies")
        if file.parent.name == release
        for event in events(file)
        if isinstance(event, worker.Asked) and isinstance(event.request, BuildPathsWithResults)
    ]
    assert wishes
    assert all(isinstance(path, Opaque) for paths in wishes for path in paths)


@pytest.mark.parametrize(("release", "strict"), [("2.8.0", True), ("2.26.3", False)])
def test_settings_for_determinism_are_still_sent_up_to_2_12(release: str, *, strict: bool) -> None:
    told = {
        event.request.options.enforce_determinism
        for file in named("serve-hook")
        if file.parent.name == release
        for event in events(file)
        if isinstance(event, serve.Asked) and isinstance(event.request, ServeBuild)
    }
    assert told == {strict}


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
