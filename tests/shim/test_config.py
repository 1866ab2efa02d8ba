from pathlib import Path

import pytest

from shim import config
from shim.equivalence.grades import DifferenceClass, Grade
from shim.errors import ExitCode, ShimError

MINIMAL = """
[serving]
root = "/srv/serve"
[plant]
root = "/srv/plant"
"""


def test_two_roots_are_enough() -> None:
    loaded = config.parse(MINIMAL)
    assert loaded.serving.root == Path("/srv/serve")
    assert loaded.plant.start
    assert loaded.systems == ("aarch64-linux",)


def test_cross_is_off_until_said() -> None:
    assert not config.parse(MINIMAL).policy.cross


def test_names_of_grades_and_classes_are_read() -> None:
    loaded = config.parse(
        MINIMAL + '[policy]\nleast-grade = "verified"\nworst-difference = "benign"\n'
    )
    assert loaded.policy.least_grade is Grade.VERIFIED
    assert loaded.policy.worst_difference is DifferenceClass.BENIGN


def test_every_mistake_is_reported_with_its_key() -> None:
    text = """
sockett = "/run/x"
systems = [7]
[serving]
root = "relative"
[plant]
root = "/srv/plant"
start = "yes"
[deadlines]
idle = -1
[policy]
least-grade = "best"
"""
    with pytest.raises(ShimError) as caught:
        config.parse(text, source="shim.toml")
    said = str(caught.value)
    assert caught.value.code is ExitCode.CONFIG
    for expected in (
        "shim.toml",
        "sockett",
        "systems",
        "serving.root",
        "plant.start",
        "deadlines.idle",
        "policy.least-grade",
        "`best` is none of declared, checked, verified, identical",
    ):
        assert expected in said, said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[serving", "not TOML"),
        ('[plant]\nroot = "/p"\n', "serving"),
        ('[serving]\nroot = "/s"\n[plant]\nroot = "/s"\n', "plants need their own"),
        ('[serving]\nroot = "/s"\nstart = false\n[plant]\nroot = "/p"\n', "serving.socket"),
        (MINIMAL + "[policy]\ncross = true\n", "no table is named"),
        ('store-dir = "nix"\n' + MINIMAL, "store-dir"),
    ],
)
def test_what_cannot_work_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ShimError, match="configuration") as caught:
        config.parse(text)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShimError) as caught:
        config.load(tmp_path / "none.toml")
    assert "none.toml" in str(caught.value)


def test_the_reference_lists_every_key() -> None:
    keys = {key for key, _, _ in config.reference()}
    assert {"socket", "serving.root", "deadlines.build-silence", "policy.cross"} <= keys
