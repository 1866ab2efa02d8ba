import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.store.derived_path import (
    ALL_OUTPUTS,
    MAX_DEPTH,
    Built,
    DerivedPath,
    Opaque,
    SingleBuilt,
    parse_derived_path,
)
from protocol.store.path import StorePath
from tests.support import strategies

DIGEST = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"
FOO = StorePath.parse(f"/nix/store/{DIGEST}-foo")
DRV = StorePath.parse(f"/nix/store/{DIGEST}-foo.drv")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Opaque(FOO), FOO),
        (Opaque(DRV), DRV),
        (Built(DRV, ALL_OUTPUTS), f"{DRV}!*"),
        (Built(DRV, frozenset({"y", "x"})), f"{DRV}!x,y"),
        (Built(SingleBuilt(DRV, "out"), frozenset({"bin"})), f"{DRV}!out!bin"),
    ],
)
def test_the_spelling(value: DerivedPath, text: str) -> None:
    assert value.render() == text
    assert parse_derived_path(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Opaque(FOO), FOO),
        (Built(DRV, ALL_OUTPUTS), DRV),
        (Built(DRV, frozenset({"y", "x"})), f"{DRV}!x,y"),
    ],
)
def test_the_spelling_of_old_peers(value: DerivedPath, text: str) -> None:
    assert value.render(legacy=True) == text
    assert parse_derived_path(text, legacy=True) == value


@pytest.mark.parametrize(
    "value", [Opaque(DRV), Built(SingleBuilt(DRV, "out"), ALL_OUTPUTS)], ids=["file", "dynamic"]
)
def test_old_peers_cannot_be_asked_for_everything(value: DerivedPath) -> None:
    with pytest.raises(LocalProtocolError, match=r"below worker protocol 1\.30"):
        value.render(legacy=True)


@given(strategies.derived_paths("/s"))
def test_every_request_comes_back(value: DerivedPath) -> None:
    assert parse_derived_path(value.render(), "/s") == value


@given(strategies.derived_paths("/s", legacy=True))
def test_every_request_of_old_peers_comes_back(value: DerivedPath) -> None:
    assert parse_derived_path(value.render(legacy=True), "/s", legacy=True) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!out",
        "foo!out",
        f"{DRV}!",
        f"{DRV}!a,",
        f"{DRV}!a,*",
        f"{DRV}!a b",
        f"{DRV}!!a",
        f"{DRV}^out",
        f"{FOO}!out",
        DRV + "!out" * (MAX_DEPTH + 2),
        DRV + "!out" * 100_000,
    ],
)
def test_what_cannot_be_built_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_derived_path(text)


def test_old_peers_know_no_outputs_of_outputs() -> None:
    with pytest.raises(RemoteProtocolError, match="too many levels"):
        parse_derived_path(f"{DRV}!out!bin", legacy=True)


@given(st.text("!*,.drvx-", max_size=20), st.booleans())
def test_junk_is_a_request_or_refused(tail: str, legacy: bool) -> None:
    try:
        value = parse_derived_path(f"{DRV}{tail}", legacy=legacy)
    except RemoteProtocolError:
        return
    assert parse_derived_path(value.render(legacy=legacy), legacy=legacy) == value
