"""`decode` and `encode` against bytes that Nix wrote: its own test data, and what we recorded."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shim.cli import command
from tests.support.shared import SHARED, shared

FEATURE = "realisation-with-path-not-hash"
DEFAULTS = {"worker": "1.10", "serve": "2.5", "common": "1.10"}
"""What Nix's own data is written with where the name says nothing."""

NAMED = re.compile(r"(?P<type>[a-z-]+?)(?:[-_](?P<major>\d)[._](?P<minor>\d+))?")


def run(*words: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(command, words, input=data)


def options(file: Path) -> list[str]:
    """How a golden file is to be decoded, by its name."""
    protocol = file.parent.name.removesuffix("-protocol")
    name = file.stem
    if name.endswith(FEATURE):
        name = name.removesuffix(f"-{FEATURE}")
        return ["--protocol", protocol, "--version", "1.38", "--feature", FEATURE, "--type", name]
    found = NAMED.fullmatch(name)
    assert found is not None, name
    version = f"{found['major']}.{found['minor']}" if found["major"] else DEFAULTS[protocol]
    return ["--protocol", protocol, "--version", version, "--type", found["type"]]


OURS = sorted((Path(__file__).resolve().parents[2] / "golden" / "values").glob("*/*.bin"))
GOLDEN = sorted((SHARED / "golden").glob("*/*.bin")) or [SHARED / "golden" / "absent.bin"]


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_nix_s_own_data_is_read_as_documented_and_written_back(file: Path, tmp_path: Path) -> None:
    shared("golden")
    expect_both_ways(file, tmp_path)


@pytest.mark.parametrize("file", OURS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_recorded_values_are_read_as_reviewed_and_written_back(file: Path, tmp_path: Path) -> None:
    expect_both_ways(file, tmp_path)


def expect_both_ways(file: Path, tmp_path: Path) -> None:
    decoded = run("decode", *options(file), "--many", str(file))
    assert decoded.exit_code == 0, decoded.output
    values = json.loads(decoded.output)
    documented = file.with_suffix(".json")
    if documented.exists():
        expected = json.loads(documented.read_text())
        assert values == (expected if isinstance(expected, list) else [expected])
    written = tmp_path / "values.json"
    written.write_text(decoded.output)
    encoded = run("encode", *options(file), "--many", str(written))
    assert encoded.exit_code == 0, encoded.output
    assert encoded.stdout_bytes == file.read_bytes()


def test_all_types_are_listed_by_name() -> None:
    lines = run("decode", "--list").output.splitlines()
    assert "worker keyed-build-result" in lines
    assert "serve build-options" in lines
    assert run("encode", "--list").output.splitlines() == lines


def test_the_zero_hash_of_new_peers_is_no_identity(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    place = {"outPath": "00000000000000000000000000000000-a", "signatures": []}
    value = {"status": "Built", "builtOutputs": {"out": place}}
    file.write_text(json.dumps(value))
    old = ("--protocol", "worker", "--version", "1.29", "--type", "build-result")
    data = run("encode", *old, str(file)).stdout_bytes
    assert b"sha256:" + b"0" * 64 + b"!out" in data
    assert json.loads(run("decode", *old, "-", data=data).output)["builtOutputs"] == {"out": place}


@pytest.mark.parametrize(
    ("words", "data", "complaint"),
    [
        (["--type", "string"], bytes(16), "8 bytes are left over behind the value"),
        (["--type", "string"], b"\1", "ends too early"),
        (["--type", "string", "--many"], bytes(8) + b"\xff" * 8, r"\[1\]: a string of 184467"),
        (["--type", "nothing"], b"", "no type `nothing`"),
        (["--type", "string", "--version", "2.3"], b"", "no version `2.3`"),
        (["--type", "string", "--version", "new"], b"", "not a version such as 1.38"),
        ([], b"", "no type was named"),
        (["--protocol", "worker", "--type", "unkeyed-realisation"], b"", "with the feature"),
        (["--protocol", "serve", "--version", "2.7", "--type", "unkeyed-realisation"], b"", "2.8"),
        (["--type", "store-path"], b"\3" + bytes(7) + b"abc" + bytes(5), "not in the store dir"),
    ],
)
def test_what_cannot_be_decoded_is_said(words: list[str], data: bytes, complaint: str) -> None:
    result = run("decode", *words, "-", data=data)
    assert result.exit_code in {2, 65}
    assert re.search(complaint, result.output)


def test_a_file_that_is_not_there_is_named() -> None:
    result = run("decode", "--type", "string", "/nowhere/at/all")
    assert result.exit_code == 1
    assert "cannot read `/nowhere/at/all`" in result.output


@pytest.mark.parametrize(
    ("words", "text", "complaint"),
    [
        (["--type", "string"], "5", "expected a text, found `5`"),
        (["--type", "string"], "{", "not JSON"),
        (["--type", "string", "--many"], "{}", "expected a list"),
        (["--protocol", "worker", "--type", "build-mode"], "7", "expected one of 0, 1, 2"),
    ],
)
def test_what_cannot_be_encoded_is_said(words: list[str], text: str, complaint: str) -> None:
    result = run("encode", *words, "-", data=text.encode())
    assert result.exit_code == 65
    assert re.search(complaint, result.output)


def test_bytes_that_are_not_utf8_survive() -> None:
    data = b"\3" + bytes(7) + b"\xff\x80a" + bytes(5)
    printed = run("decode", "--type", "string", "-", data=data).output
    assert printed == '"\\udcff\\udc80a"\n'
    assert run("encode", "--type", "string", "-", data=printed.encode()).stdout_bytes == data


def test_a_type_without_bytes_has_no_values_in_an_empty_file() -> None:
    words = ("--protocol", "worker", "--version", "1.30", "--type", "client-handshake-info")
    assert json.loads(run("decode", *words, "--many", "-", data=b"").output) == []
    assert json.loads(run("decode", *words, "-", data=b"").output) == {
        "daemonNixVersion": None,
        "remoteTrustsUs": None,
    }
    assert run("decode", *words, "--many", "-", data=b"x").exit_code == 65


def test_output_goes_to_a_file_where_wanted(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    assert run("encode", "--type", "string", "-o", str(target), "-", data=b'""').output == ""
    assert target.read_bytes() == bytes(8)
