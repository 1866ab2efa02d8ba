import base64
import os
from pathlib import Path

import pytest

from shim.doctor.board import Board, Machine, machine_lines, settings, ssh
from shim.doctor.report import Level
from shim.errors import ShimError

KEY = base64.b64encode(b"ssh-ed25519 AAAA host").decode()
LINE = f"ssh-ng://nix@fast:2222 aarch64-linux - 8 1 big-parallel - {KEY}"


def board(*lines: str, **other: object) -> Board:
    known = {"system": "aarch64-linux", "builders-use-substitutes": True, **other}
    return Board(known, tuple(Machine.parse(line) for line in lines))


def test_a_machines_line_is_read_as_nix_does() -> None:
    machine = Machine.parse(LINE)
    assert machine.host == "fast"
    assert machine.known_as == "[fast]:2222"
    assert machine.jobs == 8
    assert machine.uri() == f"ssh-ng://nix@fast:2222?base64-ssh-public-host-key={KEY}"
    assert Machine.parse("fast").store == "ssh://fast"


def test_a_bad_number_of_jobs_is_named() -> None:
    with pytest.raises(ShimError, match="`many` is no number of jobs"):
        Machine.parse("ssh://fast aarch64-linux - many")


def test_a_good_line_has_no_complaint() -> None:
    found = [*machine_lines(board(LINE)), *ssh(board(LINE))]
    assert {each.level for each in found} == {Level.OK}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ssh-ng://fast riscv64-linux - 8 1 big-parallel", "is not asked for aarch64-linux"),
        ("ssh-ng://fast aarch64-linux - 1 1 big-parallel", "one job slot"),
        ("ssh-ng://fast aarch64-linux - 8 1", "lacks big-parallel"),
    ],
)
def test_lines_that_work_badly_are_warned_of(line: str, expected: str) -> None:
    (found,) = [each for each in machine_lines(board(line)) if each.level is not Level.OK]
    assert found.level is Level.WARN
    assert expected in found.found
    assert found.fix


def test_a_key_that_ssh_would_refuse_fails(tmp_path: Path) -> None:
    key = tmp_path / "key"
    line = f"ssh-ng://fast aarch64-linux {key} 8 1 big-parallel - {KEY}"
    assert "does not exist" in next(ssh(board(line))).found
    key.touch()
    key.chmod(0o644)
    assert "others may read" in next(ssh(board(line))).found
    key.chmod(0o600)
    assert next(ssh(board(line))).level is Level.OK


@pytest.mark.parametrize(
    ("host_key", "expected"),
    [
        ("AAAA", "publicHostKey is not the base64 of a key line"),
        ("-", "is in no known_hosts file"),
    ],
)
def test_hosts_that_ssh_would_not_believe_fail(host_key: str, expected: str) -> None:
    line = f"ssh-ng://no-such-host.invalid aarch64-linux - 8 1 - - {host_key}"
    (found,) = ssh(board(line))
    assert found.level is Level.FAIL
    assert expected in found.found


def test_a_board_without_builders_fails() -> None:
    assert next(settings(board())).level is Level.FAIL
    found = [each.found for each in settings(board(LINE, **{"builders-use-substitutes": False}))]
    assert any("uploaded from here" in each for each in found)
    if os.geteuid() == 0:
        assert not any("not run as root" in each for each in found)
