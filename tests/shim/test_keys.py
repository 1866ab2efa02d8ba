import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import SecretKey, signers
from shim.cli.keys import command
from shim.equivalence.grades import Grade
from shim.errors import ShimError
from shim.keys import KeyRing, Made, generate, rotate

PATH = StorePath.parse(f"/nix/store/{'0' * 32}-demo-1.0")
INFO = PathInfo(
    deriver=None,
    nar_hash=Hash.parse(f"sha256:{'0' * 52}"),
    references=frozenset(),
    registration_time=0,
    nar_size=1,
    ultimate=False,
    signatures=frozenset({"other-1:x"}),
    content_address=None,
)


def test_every_kind_gets_a_key_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    made = generate(folder, "host")
    assert {key.name for key in made} == {f"host-{kind}-1" for kind in Made}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_second_generation_changes_nothing(tmp_path: Path) -> None:
    generate(tmp_path, "host", [Made.CHECKED])
    before = (tmp_path / "host-checked-1").read_bytes()
    assert {key.name for key in generate(tmp_path, "other")} == {
        f"other-{kind}-1" for kind in Made if kind is not Made.CHECKED
    }
    assert (tmp_path / "host-checked-1").read_bytes() == before


@pytest.mark.parametrize("kind", Made)
def test_a_path_is_signed_with_the_key_of_its_kind(tmp_path: Path, kind: Made) -> None:
    generate(tmp_path, "host")
    ring = KeyRing.load(tmp_path)
    signed = ring.sign(PATH, INFO, kind)
    assert signers(PATH, signed, ring.public.values()) == {f"host-{kind}-1"}
    assert signed.signatures > INFO.signatures


def test_the_newest_key_signs_and_older_ones_are_still_known(tmp_path: Path) -> None:
    generate(tmp_path, "host")
    for serial in range(2, 12):
        assert rotate(tmp_path, "host", Made.CHECKED).name == f"host-checked-{serial}"
    ring = KeyRing.load(tmp_path)
    signed = ring.sign(PATH, INFO, Made.CHECKED)
    assert signers(PATH, signed, ring.public.values()) == {"host-checked-11"}
    assert "host-checked-1" in ring.public


@pytest.mark.parametrize("grade", Grade)
def test_every_grade_has_a_kind(grade: Grade) -> None:
    assert Made.by_grade(grade).name == grade.name


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    generate(tmp_path, "host")
    (tmp_path / "host-checked-1").chmod(0o640)
    with pytest.raises(ShimError, match="can be used by others") as caught:
        KeyRing.load(tmp_path)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("text", ["", "host-checked-1", "host-checked-1:AAAA", "\x00" * 9999])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "host-checked-1"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ShimError, match="holds no key") as caught:
        KeyRing.load(tmp_path)
    assert "AAAA" not in str(caught.value)


def test_a_renamed_key_is_refused(tmp_path: Path) -> None:
    generate(tmp_path, "host", [Made.CHECKED])
    (tmp_path / "host-checked-1").rename(tmp_path / "host-verified-1")
    with pytest.raises(ShimError, match="holds the key `host-checked-1`"):
        KeyRing.load(tmp_path)


def test_a_directory_without_keys_says_how_to_make_them(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ShimError) as caught:
            KeyRing.load(folder)
        assert "keys generate" in caught.value.hint


def test_a_missing_kind_is_named(tmp_path: Path) -> None:
    generate(tmp_path, "host", [Made.CHECKED])
    with pytest.raises(ShimError, match="no key to sign paths of kind `emulated`"):
        KeyRing.load(tmp_path).sign(PATH, INFO, Made.EMULATED)


@pytest.mark.parametrize("base", ["", "a:b", "a/b", "-x", "a b"])
def test_bad_names_are_refused(tmp_path: Path, base: str) -> None:
    with pytest.raises(ShimError, match="not fit as the name of a key"):
        generate(tmp_path, base)


def test_keys_of_others_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(ShimError, match="not the name of a key of ours"):
        KeyRing([SecretKey.generate("cache.example.org-1")])
    assert not list(tmp_path.iterdir())


def test_the_command_prints_public_keys_only(tmp_path: Path) -> None:
    run = CliRunner().invoke
    arguments = ["--directory", str(tmp_path)]
    made = run(command, ["generate", *arguments, "--name", "host"])
    shown = run(command, ["show", *arguments])
    assert made.exit_code == shown.exit_code == 0
    assert sorted(made.output.splitlines()) == sorted(shown.output.splitlines())
    assert len(shown.output.splitlines()) == len(Made)
    rotated = run(command, ["generate", *arguments, "--name", "host", "--rotate", "checked"])
    assert rotated.output.startswith("host-checked-2:")
    listed = json.loads(run(command, ["show", *arguments, "--json"]).output)
    assert listed["host-checked-2"] == rotated.output.strip()
    secrets = {path.read_text().partition(":")[2] for path in tmp_path.iterdir()}
    assert not any(secret in made.output + shown.output for secret in secrets)
