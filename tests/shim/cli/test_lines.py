import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from protocol.transcript.decode import Message, messages
from protocol.transcript.record import Direction
from protocol.worker.events import Logged
from protocol.worker.stderr import Next
from shim.cli import command
from shim.cli.lines import LONGEST, lines
from tests.support.recorded import RECORDINGS

HOOK = next(file for file in RECORDINGS if file.stem == "worker-hook-2")


def test_a_session_reads_like_a_conversation() -> None:
    result = CliRunner().invoke(command, ["decode", "transcript", str(HOOK)])
    assert result.exit_code == 0
    header, *said = result.output.splitlines()
    assert re.fullmatch(r"# worker protocol, /nix/store: Nix [0-9.]+, scenario hook", header)
    verbs = [line.split()[3] for line in said if " C > " in line]
    assert verbs[0] == "speaks"
    assert verbs[-1] == "closes"
    assert {"QueryValidPaths", "BuildDerivation", "QueryPathInfo", "NarFromPath"} <= set(verbs)
    assert any(re.search(r"S < body of \d+ bytes$", line) for line in said)


@pytest.mark.parametrize(
    "file", RECORDINGS[::5], ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_every_message_is_one_harmless_line(file: Path) -> None:
    printed = list(lines(messages([file.read_bytes()])))
    assert printed
    for line in printed:
        assert line.isprintable()
        assert len(line) <= LONGEST + len("  0.000000 C > ") + 4


def test_what_builders_print_cannot_reach_the_terminal() -> None:
    event = Logged(Next("\x1b]0;owned\x07\r\udcff\n"))
    (line,) = lines([Message(Direction.TO_CLIENT, 1_500_000, event, b"")])
    assert line == r"  1.500000 S < log: Next text='\x1b]0;owned\x07\r\udcff\n'"


def test_what_was_understood_is_printed_before_the_complaint(tmp_path: Path) -> None:
    file = tmp_path / "cut.nixrec"
    file.write_bytes(HOOK.read_bytes()[:-40])
    result = CliRunner().invoke(command, ["decode", "transcript", str(file)])
    assert result.exit_code == 65
    assert "QueryValidPaths" in result.output
    assert "cannot go on in" in result.output
