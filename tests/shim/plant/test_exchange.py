"""The script that exchanges tools, run by a real shell as `setup.sh` would."""

import shutil
import subprocess

import pytest

from protocol.store.path import StorePath
from shim.plant.exchange import Exchange

ONE, TWO, HERE, THERE = (
    StorePath(f"/nix/store/{letter * 32}-{name}")
    for letter, name in (("a", "one-1.0"), ("b", "two+=?2"), ("c", "tool"), ("d", "tool=native"))
)


def after(exchange: Exchange, before: str, show: str) -> list[str]:
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("`bash` is not installed")
    script = f"""\
set -eu
declare -a pkgsBuildBuild=() pkgsBuildHost=() pkgsBuildTarget=()
{before}
activatePackage() {{ local -r hostOffset=-1; source /dev/stdin <<'END'
{exchange.script()}
END
}}
activatePackage
printf '%s\\n' {show}
"""
    done = subprocess.run(
        [shell, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split("\n")[:-1]


def test_native_tools_are_taken_from_what_is_to_be_activated() -> None:
    exchange = Exchange((ONE, TWO))
    lists = f"pkgsBuildHost=('{HERE}' '{ONE}' other) pkgsBuildTarget=('{TWO}')"
    assert after(exchange, lists, '"${pkgsBuildHost[@]}"') == [HERE, "other"]
    assert after(exchange, lists, '"${#pkgsBuildTarget[@]}" "${#pkgsBuildBuild[@]}"') == ["0", "0"]


def test_longer_names_stay() -> None:
    lists = f"pkgsBuildHost=('{ONE}' '{ONE}-dev')"
    assert after(Exchange((ONE,)), lists, '"${pkgsBuildHost[@]}"') == [f"{ONE}-dev"]


@pytest.mark.parametrize(
    "value",
    [
        f"export propagatedNativeBuildInputs='x {HERE} y'",
        f"propagatedNativeBuildInputs=('x' '{HERE}' 'y')",
    ],
    ids=["a text", "a list, as structured attributes give it"],
)
def test_what_is_propagated_is_named_natively(value: str) -> None:
    found = after(Exchange((), {HERE: THERE}), value, "${propagatedNativeBuildInputs[@]}")
    assert found == ["x", THERE, "y"]


def test_variables_that_are_not_set_stay_so() -> None:
    show = '"${depsBuildBuildPropagated-unset}"'
    assert after(Exchange((ONE,), {HERE: THERE}), "", show) == ["unset"]


def test_equal_exchanges_have_one_path_and_none_is_false() -> None:
    assert Exchange((ONE,)).path("/nix/store") == Exchange((ONE,)).path("/nix/store")
    assert Exchange((ONE,)).path("/nix/store") != Exchange((TWO,)).path("/nix/store")
    assert not Exchange()
