"""Of a peer's settings, only those that are listed reach the nix-daemon."""

from dataclasses import fields

import pytest

from protocol.worker.messages import SetOptions
from protocol.worker.stderr import Verbosity
from shim.session.settings import FIELDS, OVERRIDES, honoured

BASE = SetOptions(max_build_jobs=8, build_cores=8, overrides={"builders": ""})

EVERYTHING = SetOptions(
    keep_failed=True,
    keep_going=True,
    try_fallback=True,
    verbosity=Verbosity.DEBUG,
    max_build_jobs=1000,
    max_silent_time=60,
    verbose_build=Verbosity.ERROR,
    build_cores=1000,
    use_substitutes=False,
)


@pytest.mark.parametrize("field", FIELDS)
def test_a_listed_field_is_honoured(field: str) -> None:
    passed, _ = honoured(EVERYTHING, BASE)
    assert getattr(passed, field) == getattr(EVERYTHING, field)


@pytest.mark.parametrize(
    "field", sorted({each.name for each in fields(SetOptions)} - set(FIELDS) - {"overrides"})
)
def test_every_other_field_stays_ours(field: str) -> None:
    passed, _ = honoured(EVERYTHING, BASE)
    assert getattr(passed, field) == getattr(BASE, field) != getattr(EVERYTHING, field)


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_listed_override_is_honoured_if_it_is_a_number(name: str) -> None:
    assert honoured(SetOptions(overrides={name: "30"}), BASE)[0].overrides[name] == "30"
    passed, ignored = honoured(SetOptions(overrides={name: "-1; rm"}), BASE)
    assert name not in passed.overrides
    assert ignored == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "build-hook",
        "post-build-hook",
        "pre-build-hook",
        "diff-hook",
        "run-diff-hook",
        "sandbox",
        "sandbox-paths",
        "substituters",
        "trusted-public-keys",
        "require-sigs",
        "trusted-users",
        "builders-use-substitutes",
        "extra-platforms",
        "plugin-files",
        "experimental-features",
    ],
)
def test_nothing_else_is_smuggled_in(name: str) -> None:
    passed, ignored = honoured(SetOptions(overrides={name: "1"}), BASE)
    assert passed.overrides == BASE.overrides
    assert ignored == (name,)


def test_builds_never_leave_this_machine() -> None:
    passed, ignored = honoured(SetOptions(overrides={"builders": "ssh://evil"}), BASE)
    assert passed.overrides == {"builders": ""}
    assert ignored == ()
