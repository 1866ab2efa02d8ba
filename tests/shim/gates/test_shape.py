import os

import pytest

from tests.support.planted import GLIBC, GOOD_PROGRAM, OUT, Planted, rules, store_path


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("demo", []),
        ("../bin/demo", []),
        (f"{OUT}/bin/demo", []),
        (f"../../{GLIBC.base}/lib", []),
        ("/etc/demo.conf", []),
        ("nothing", ["shape.dangling"]),
        (f"{GLIBC}/nothing", ["shape.dangling"]),
        ("link", ["shape.loop"]),
        ("../bin/link", ["shape.loop"]),
        ("demo/x", ["shape.dangling"]),
    ],
)
def test_links_lead_somewhere(planted: Planted, target: str, found: list[str]) -> None:
    planted.add("bin/link", target)
    verdict = planted.judge()
    assert rules(verdict) == found
    assert verdict.accepted


def test_an_output_that_is_a_link_is_followed_from_the_store(planted: Planted) -> None:
    planted.outputs["lib"] = store_path("demo-1.0-lib", "5")
    planted.allowed.add(planted.outputs["lib"])
    planted.add("", "../store/none", path=planted.outputs["lib"])
    assert rules(planted.judge()) == []
    planted.outputs["dev"] = store_path("demo-1.0-dev", "6")
    planted.allowed.add(planted.outputs["dev"])
    planted.add("", f"{OUT.base}/none", path=planted.outputs["dev"])
    assert rules(planted.judge()) == ["shape.dangling"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("share/man/man1/demo.1", "shape.empty"),
        ("share/bash-completion/completions/demo", "shape.empty"),
        ("lib/girepository-1.0/X-1.0.typelib", "shape.empty"),
        ("bin/tool", "shape.empty"),
        ("lib/python3/site-packages/x/__init__.py", "shape.empty-files"),
    ],
)
def test_empty_files_are_told_by_what_they_should_hold(
    planted: Planted, path: str, found: str
) -> None:
    planted.add(path, b"")
    assert rules(planted.judge()) == [found]


def test_programs_can_be_executed(planted: Planted) -> None:
    planted.add("bin/other", GOOD_PROGRAM, executable=False)
    planted.add("bin/script", b"#!/bin/sh\n", executable=False)
    planted.add("bin/data", b"data", executable=False)
    assert [(found.rule, found.path) for found in planted.judge().findings] == [
        ("shape.not-executable", "out/bin/other"),
        ("shape.not-executable", "out/bin/script"),
    ]


def test_modes_are_those_that_nix_stores(planted: Planted) -> None:
    planted.add("share/x", b"x").chmod(0o644)
    assert rules(planted.judge()) == ["shape.mode"]


def test_only_files_folders_and_links_are_stored(planted: Planted) -> None:
    place = planted.add("share/x", b"x")
    os.mkfifo(place.parent / "pipe")
    verdict = planted.judge()
    assert rules(verdict) == ["shape.kind"]
    assert not verdict.accepted
