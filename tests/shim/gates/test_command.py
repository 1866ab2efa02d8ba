import json
from pathlib import Path

from click.testing import CliRunner

from shim.cli.gates import command
from shim.gates.rules import RULES
from tests.support.elf import ElfSpec
from tests.support.planted import BUILD_BASH, OUT, Planted, store_path


def run(planted: Planted, *more: str) -> tuple[int, str]:
    planted.subject()
    allowed = planted.root / "allowed"
    allowed.write_text("".join(f"{path}\n" for path in sorted(planted.allowed)))
    forbidden = planted.root / "forbidden"
    forbidden.write_text(f"{BUILD_BASH} it runs on the build machine\n")
    common = ["--system", "aarch64-linux", "--root", str(planted.root)]
    lists = ["--allowed", str(allowed), "--forbidden", str(forbidden)]
    result = CliRunner().invoke(command, ["check-output", *common, *lists, *more])
    return result.exit_code, result.output


def test_a_good_result_passes(planted: Planted) -> None:
    assert run(planted, str(OUT)) == (0, "gates passed: 3 files, nothing found\n")


def test_a_bad_result_fails_with_findings_and_advice(planted: Planted) -> None:
    planted.add("share/x", BUILD_BASH.encode())
    code, output = run(planted, f"out={OUT}")
    assert code == 1
    assert "it runs on the build machine" in output
    assert RULES["references.forbidden"].advice in output


def test_findings_can_be_had_as_json(planted: Planted) -> None:
    planted.add("share/x", BUILD_BASH.encode())
    code, output = run(planted, str(OUT), "--json")
    assert code == 1
    assert [found["rule"] for found in json.loads(output)["findings"]] == ["references.forbidden"]


def test_what_the_build_could_not_see_is_sample_text(planted: Planted) -> None:
    planted.add("share/x", store_path("other", "9").encode())
    visible = planted.root / "visible"
    visible.write_text("")
    assert run(planted, str(OUT))[0] == 1
    assert run(planted, str(OUT), "--visible", str(visible))[0] == 0
    visible.write_text(f"{store_path('other', '9')}\n")
    assert run(planted, str(OUT), "--visible", str(visible))[0] == 1


CONFIG = """\
[serving]
root = "/serve"

[plant]
root = "/plant"

[[gates.overrides]]
rule = "elf.machine"
severity = "note"
reason = "we know"
name = "demo-*"
"""


def test_the_daemon_s_own_settings_are_used_when_named(planted: Planted, tmp_path: Path) -> None:
    planted.add("lib/x.o", ElfSpec(machine=62, type=1).build())
    file = tmp_path / "nix-shim.toml"
    file.write_text(CONFIG)
    assert run(planted, str(OUT))[0] == 1
    assert run(planted, str(OUT), "--config", str(file))[0] == 0
    listed = CliRunner().invoke(command, ["rules", "--config", str(file)]).output
    assert "demo-* *: we know" in listed


def test_a_path_that_is_none_is_a_user_s_mistake() -> None:
    result = CliRunner().invoke(command, ["check-output", "--system", "aarch64-linux", "x=y"])
    assert "not in the store directory" in str(result.exception)


def test_every_rule_is_listed() -> None:
    output = CliRunner().invoke(command, ["rules"]).output
    assert all(rule in output for rule in RULES)
    assert set(json.loads(CliRunner().invoke(command, ["rules", "--json"]).output)) == set(RULES)
