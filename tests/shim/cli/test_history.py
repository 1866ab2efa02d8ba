import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from protocol.store.path import StorePath
from shim.cli.history import command
from shim.daemon.state import BuildRecord, State
from shim.errors import ShimError

DRV = StorePath("/nix/store/" + "a" * 32 + "-pigz-2.8.drv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    state = State(tmp_path / "state.sqlite")
    for number, (peer, outcome) in enumerate(
        [("attic", "ok"), ("cellar", "the cross build failed: tests\nmore"), ("attic", "ok")]
    ):
        state.record(BuildRecord(DRV, peer, "cross", outcome, 1e9 + number, 2.5, grade="checked"))
    state.close()
    return tmp_path


def listed(folder: Path, *arguments: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(command, ["--state", str(folder), "--json", *arguments])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_the_newest_comes_first(folder: Path) -> None:
    assert [row["started"] for row in listed(folder)] == [1e9 + 2, 1e9 + 1, 1e9]
    assert len(listed(folder, "--last", "2")) == 2


def test_peers_and_failures_can_be_picked(folder: Path) -> None:
    assert {row["peer"] for row in listed(folder, "--peer", "attic")} == {"attic"}
    (row,) = listed(folder, "--failed")
    assert row["peer"] == "cellar"


def test_a_listing_has_a_line_for_each_and_no_colour_in_a_pipe(folder: Path) -> None:
    said = CliRunner().invoke(command, ["--state", str(folder)], env={"COLUMNS": "120"}).output
    assert said.count("pigz-2.8") == 3
    assert "the cross build failed: tests" in said
    assert "more" not in said
    assert "\x1b" not in said


def test_a_daemon_that_never_ran_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--state", str(tmp_path)])
    assert isinstance(done.exception, ShimError)
    assert "cannot use the state" in done.exception.message
