import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shim.cli import command
from tests.support.shared import shared

FOLDER = "corpus/aarch64-linux"


def run(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(command, ["table", *map(str, arguments)], input=stdin)


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    pairs = json.loads(shared(f"{FOLDER}/truth.json").read_text())["pairs"]
    assert isinstance(pairs, dict)
    return pairs


@pytest.fixture(scope="module")
def drvs() -> Path:
    return shared(f"{FOLDER}/drvs.tar.zst")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, truth: dict[str, Any], drvs: Path) -> Path:
    folder = tmp_path_factory.mktemp("table")
    lines = [f"{one['native']} {one['cross']}" for one in truth.values()]
    (folder / "pairs").write_text("\n".join(["# native cross", "", *lines]))
    made = run("pair", "--pairs", folder / "pairs", "--derivations", drvs, "-o", folder / "all")
    assert made.exit_code == 0, made.output
    assert "0 host" not in made.output
    return folder / "all"


@pytest.fixture
def small(tmp_path: Path, truth: dict[str, Any], drvs: Path) -> Path:
    zlib = truth["zlib"]
    roots = ("--native", zlib["native"], "--cross", zlib["cross"])
    made = run("pair", *roots, "--derivations", drvs, "-o", tmp_path / "zlib")
    assert made.exit_code == 0, made.output
    return tmp_path / "zlib"


def test_lookup_prints_an_object_for_each_role(table: Path, truth: dict[str, Any]) -> None:
    python = truth["python3"]
    found = objects(run("lookup", "--json", "--table", table, python["native"]))
    assert [one["role"] for one in found] == ["host", "tool"]
    assert found[0]["native"] == python["native"]
    assert found[0]["cross"] == python["cross"]
    assert (found[0]["class"], found[0]["grade"]) == ("semantic", "checked")
    assert found[0]["reason"] == "given as a root pair"


def test_lookup_takes_outputs_and_standard_input(table: Path, truth: dict[str, Any]) -> None:
    zlib = truth["zlib"]
    [host, *_] = objects(
        run("lookup", "--json", "--table", table, stdin=f"{zlib['nativeOutputs']['dev']}\n\n")
    )
    assert (host["native"], host["cross"]) == (zlib["native"], zlib["cross"])
    assert host["crossOutput"] == zlib["crossOutputs"]["dev"]


def test_lookup_says_why_a_path_is_not_there(table: Path) -> None:
    nobody = f"/nix/store/{'0' * 32}-nobody.drv"
    [one] = objects(run("lookup", "--json", "--table", table, nobody))
    assert (one["native"], one["cross"], one["role"]) == (nobody, None, None)
    assert "did not meet" in one["reason"]
    [left, *_] = objects(run("show", "--unpaired", "--json", table))
    [found] = objects(run("lookup", "--json", "--table", table, left["path"]))
    assert found["reason"] == left["reason"]


def test_explain_shows_differences_and_the_plan(
    table: Path, truth: dict[str, Any], drvs: Path
) -> None:
    result = run("explain", "--table", table, "--derivations", drvs, truth["git"]["native"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == (
        "git-2.44.0, as host: semantic, checked - the cross recipe asks for another result"
    )
    for line in (
        f"  cross       {truth['git']['cross']}",
        "  because     given as a root pair",
        "  outputs     debug, doc, out",
        "  semantic    dependencies: `buildInputs`",
        "              only native: perl-5.38.2",
        "              only cross:  NO_PERL=1",
        "it would be planted (`nix-shim plan` prints every replacement)",
        "  compared    headers, before it is built: glibc-2.39-5-dev",
    ):
        assert line in lines
    assert [line for line in lines if line.startswith("  grafts")]
    # Nobody judges more than a page in half a minute.
    assert len(lines) < 60
    assert max(map(len, lines)) <= 100


def test_explain_says_why_nothing_would_be_planted(table: Path, drvs: Path) -> None:
    given = ("--table", str(table), "--derivations", str(drvs))
    [counts] = objects(CliRunner().invoke(command, ["plan", "--summary", "--json", *given]))
    declined = next(iter(counts["declined"].values()))[0]
    [native] = {
        row["native"]
        for row in objects(run("show", "--json", "--role", "host", table))
        if row["native"].endswith(f"-{declined}.drv") and row["grade"] != "identical"
    }
    lines = run("explain", *given, native).output.splitlines()
    assert lines[lines.index("it would not be planted") + 1].strip()


def test_explain_of_the_unknown_is_an_error_with_the_reason(table: Path, drvs: Path) -> None:
    nobody = f"/nix/store/{'0' * 32}-nobody.drv"
    result = run("explain", "--table", table, "--derivations", drvs, nobody)
    assert result.exit_code == 1
    assert f"not in the table: `{nobody}`" in result.stderr


def test_show_filters(table: Path) -> None:
    rows = objects(run("show", "--json", "--role", "toolchain", "--class", "semantic", table))
    assert {(one["role"], one["class"]) for one in rows} == {("toolchain", "semantic")}
    assert "aarch64-linux made on x86_64-linux" in run("show", table).output


def test_stats_count(table: Path, truth: dict[str, Any]) -> None:
    [numbers] = objects(run("stats", "--json", table))
    assert numbers["root_pairs"] == len(truth)
    assert numbers["entries"] == sum(numbers["roles"].values())
    assert numbers["conflicts"] == 0
    assert run("stats", table).output.startswith(f"entries: {numbers['entries']}\n")


def test_merge_and_diff(table: Path, small: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    assert run("merge", "-o", both, table, small).exit_code == 0
    kinds = {one["change"] for one in objects(run("diff", "--json", table, both))}
    assert kinds <= {"changed"}
    assert run("diff", table, table).output == "no changes\n"
    assert "removed" in run("diff", table, small).output


def test_verify_file(table: Path, tmp_path: Path) -> None:
    assert "sound" in run("verify-file", table).output
    damaged = bytearray(table.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    result = run("verify-file", tmp_path / "damaged")
    assert result.exit_code != 0
    assert "it is damaged" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--native", f"/nix/store/{'0' * 32}-a.drv"), "1 native roots and 0 cross ones"),
        ((), "no pair of roots"),
        (("--native", "a", "--cross", "b"), "not in the store directory"),
        (
            ("--native", f"/nix/store/{'0' * 32}-a", "--cross", f"/nix/store/{'0' * 32}-b"),
            "not a .drv",
        ),
    ],
)
def test_bad_roots_are_refused(
    arguments: tuple[str, ...], message: str, tmp_path: Path, drvs: Path
) -> None:
    result = run("pair", *arguments, "--derivations", drvs, "-o", tmp_path / "out")
    assert result.exit_code != 0
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_bad_line_of_pairs_is_named(tmp_path: Path, drvs: Path) -> None:
    (tmp_path / "pairs").write_text("\nonly-one\n")
    result = run("pair", "--pairs", tmp_path / "pairs", "--derivations", drvs, "-o", tmp_path / "o")
    assert "line 2 of the pairs" in result.stderr
