import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.store.path import STORE_DIR, BadStorePath, StorePath, check_name
from tests.support import strategies

DIGEST = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"


def test_a_path_knows_its_parts() -> None:
    path = StorePath.parse(f"/nix/store/{DIGEST}-foo-1.0.drv")
    assert (path.store_dir, path.base, path.digest, path.name, path.is_derivation) == (
        "/nix/store",
        f"{DIGEST}-foo-1.0.drv",
        DIGEST,
        "foo-1.0.drv",
        True,
    )


def test_a_path_is_its_text() -> None:
    text = f"/nix/store/{DIGEST}-foo"
    assert {StorePath.parse(text): 1}[StorePath(text)] == 1
    assert StorePath.parse(text) == text
    assert not StorePath.parse(text).is_derivation


@given(strategies.store_paths("/odd+(dir).*"))
def test_any_store_directory_will_do(path: StorePath) -> None:
    assert StorePath.of(path.base, "/odd+(dir).*") == path
    with pytest.raises(BadStorePath, match="not in the store directory `/nix/store`"):
        StorePath.parse(path)


@pytest.mark.parametrize("name", [".a", "..a", "...", "a.", "-", "?=+_", "x" * 211])
def test_good_names(name: str) -> None:
    assert StorePath.of(f"{DIGEST}-{name}").name == name
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".-a", "..-a", ".-", "a b", "a/b", "a\n", "é", "a\0", "\udc80", "x" * 212],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(BadStorePath):
        StorePath.of(f"{DIGEST}-{name}")
    with pytest.raises(BadStorePath):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not in the store directory"),
        (f"/nix/stor/{DIGEST}-a", "not in the store directory"),
        (f"/nix/store{DIGEST}-a", "not in the store directory"),
        (f"nix/store/{DIGEST}-a", "not in the store directory"),
        (f"/nix/store//{DIGEST}-a", "not directly"),
        (f"/nix/store/{DIGEST}-a/bin", "not directly"),
        (f"/nix/store/{DIGEST}-a/", "not directly"),
        (f"/nix/store/{DIGEST}", "no digest"),
        (f"/nix/store/{DIGEST[1:]}-a", "no digest"),
        (f"/nix/store/{DIGEST[:-1]}e-a", "no digest"),
        (f"/nix/store/{DIGEST.upper()}-a", "no digest"),
        (f"/nix/store/{DIGEST}-", "needs a name"),
        (f"/nix/store/{DIGEST}-{'x' * 300}", "300 characters"),
    ],
)
def test_the_refusal_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(BadStorePath, match=message):
        StorePath.parse(text)


@given(st.text() | st.text().map(lambda text: f"{STORE_DIR}/{DIGEST}-{text}"))
def test_junk_is_a_path_or_refused(text: str) -> None:
    try:
        path = StorePath.parse(text)
    except BadStorePath:
        return
    assert f"{path.store_dir}/{path.digest}-{path.name}" == text
