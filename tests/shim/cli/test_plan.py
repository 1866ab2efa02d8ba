import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from protocol.store.path import StorePath
from shim.cli import command
from shim.equivalence.file import save
from tests.shim.plant.corpus import FOLDER, corpus
from tests.support.shared import shared


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "table"
    save(corpus().table, path)
    return path


def run(table: Path, *arguments: str) -> Result:
    derivations = str(shared(f"{FOLDER}/drvs.tar.zst"))
    return CliRunner().invoke(
        command, ["plan", "--table", str(table), "--derivations", derivations, *arguments]
    )


def test_prints_a_readable_tree(table: Path) -> None:
    result = run(table, corpus().native("zlib"))
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"plant {corpus().native('zlib')}\n")
    assert "stdenv-linux -> stdenv-linux in stdenv (graft stdenv-linux.drv)" in result.output
    assert "glibc-2.39-5-dev and glibc-aarch64-unknown-linux-gnu-2.39-5-dev" in result.output


def test_prints_the_same_plan_as_json(table: Path) -> None:
    result = run(table, "--json", corpus().native("zlib"), corpus().native("git"))
    objects = [json.loads(line) for line in result.output.splitlines()]
    assert [each["native"] for each in objects] == [corpus().native("zlib"), corpus().native("git")]
    zlib = corpus().plan("zlib")
    assert objects[0]["outputs"] == dict(zlib.outputs)
    assert objects[0]["derivation"]["env"] == dict(zlib.derivation.env)
    assert [each["path"] for each in objects[0]["grafts"]] == [each.path for each in zlib.grafts]


def test_a_refusal_is_shown_and_is_a_failure(table: Path) -> None:
    result = run(table, corpus().native("c-fod-url"))
    assert result.exit_code == 1
    assert "declined\n  fixed: the content of" in result.output
    assert (
        f"`{StorePath(corpus().truth['pairs']['c-fod-url']['cross']).base}` makes it"
        in result.output
    )


def test_counts_what_can_be_planted(table: Path) -> None:
    result = run(table, "--summary", "--json")
    assert result.exit_code == 0, result.output
    counts = json.loads(result.output)
    planned = len(corpus().plans)
    assert counts["planned"] == planned
    assert len(counts["declined"]["toolchain"]) == len(corpus().results) - planned
    assert counts["asked"] == planned + sum(len(names) for names in counts["declined"].values())
    assert f"{planned} of {counts['asked']} planned" in run(table, "--summary").output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "no derivation given"),
        (("zlib",), "not in the store directory"),
        (("/nix/store/6nypjril3rq5y2iac7xj512crwwmaj0n-zlib-1.3.1",), "not a derivation"),
    ],
)
def test_bad_arguments_are_usage_errors(
    table: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    result = run(table, *arguments)
    assert result.exit_code == 2
    assert complaint in result.output
