import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from protocol.store.path import StorePath
from shim.cli import command
from shim.daemon.state import BuildRecord, State
from shim.errors import ExitCode
from shim.gates.verdict import Finding, Severity, Verdict

OUT = StorePath("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-pigz-2.8")
DRV = StorePath(f"{OUT}.drv")
LEAK = Finding(
    "references.forbidden", Severity.ERROR, "out/x.gz!x", 7, "`abc`: the build platform", "look"
)
VERDICT = Verdict(accepted=False, findings=(LEAK,), files=3, examined=9)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The state after a plant that the gates rejected and an emulated build."""
    state = State(tmp_path / "state.sqlite")
    for strategy, verdict in (("cross", VERDICT), ("emulate", None)):
        state.record(
            BuildRecord(
                DRV,
                "attic",
                strategy,
                verdict.summary() if verdict else "ok",
                1_000_000.0,
                4.25,
                tuple(each.as_json() for each in verdict.findings) if verdict else (),
                verdict.summary() if verdict else "",
                outputs=(OUT,),
            )
        )
    state.record(
        BuildRecord(DRV, "attic", "cross", "ok", 2_000_000.0, 1.0, (), "gates passed", "checked")
    )
    state.close()
    return tmp_path


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["show", "--state", str(directory), *arguments])


def test_an_output_s_story_is_told(directory: Path) -> None:
    result = run(directory, OUT)
    assert result.exit_code == 0, result.output
    first, second, third = result.output.split("\n\n")
    assert first.startswith(f"{DRV}\n  1970-01-12 13:46:40 UTC, 4.2 s, for attic\n")
    assert "strategy  cross: gates rejected it" in first
    assert "error references.forbidden out/x.gz!x+0x7: `abc`: the build platform" in first
    assert "strategy  emulate: ok" in second
    assert "the gates were not asked" in second
    assert "grade     checked" in third


def test_json_has_everything(directory: Path) -> None:
    first, second, third = json.loads(run(directory, "--json", OUT).output)
    assert first["findings"] == [LEAK.as_json()]
    assert first["verdict"] == VERDICT.summary()
    assert (second["strategy"], second["verdict"], second["grade"]) == ("emulate", None, None)
    assert (third["grade"], third["derivation"], third["peer"]) == ("checked", DRV, "attic")


def test_a_derivation_is_found_as_its_output_is(directory: Path) -> None:
    assert run(directory, DRV).output == run(directory, OUT).output


def test_what_nobody_asked_for_is_not_known(directory: Path) -> None:
    result = run(directory, f"{OUT}-man")
    assert result.exit_code == ExitCode.FAILURE
    assert "nothing is known" in result.output


def test_the_configuration_names_the_state(directory: Path) -> None:
    config = directory / "shim.toml"
    config.write_text(
        f'state-directory = "{directory}"\n[serving]\nroot = "/a"\n[plant]\nroot = "/b"\n'
    )
    result = CliRunner().invoke(command, ["show", "--config", str(config), OUT])
    assert result.output == run(directory, OUT).output


@pytest.mark.parametrize(("path", "code"), [("pigz", ExitCode.USAGE), (OUT, ExitCode.UNAVAILABLE)])
def test_what_cannot_be_looked_up_is_said(tmp_path: Path, path: str, code: ExitCode) -> None:
    result = run(tmp_path / "none", path)
    assert result.exit_code == code
    assert not (tmp_path / "none").exists()
