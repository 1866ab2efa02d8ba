import pytest

from tests.support.elf import ElfSpec
from tests.support.planted import BASH, BUILD_BASH, OUT, Planted, rules


def judged(planted: Planted, line: str, *, executable: bool = True) -> list[str]:
    planted.add("bin/x", f"{line}\necho\n".encode(), executable=executable)
    return [rule for rule in rules(planted.judge()) if rule.startswith("scripts.")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"#!{BASH}/bin/bash", []),
        (f"#! {BASH}/bin/bash -e", []),
        (f"#!{BASH}/bin/sh", ["scripts.missing"]),
        (f"#!{BUILD_BASH}/bin/bash", ["scripts.not-allowed"]),
        ("#!/bin/sh", ["scripts.unpatched"]),
        ("#!/usr/bin/env python3", ["scripts.unpatched"]),
        (f"#!/usr/bin/env {BASH}/bin/none", ["scripts.missing"]),
        (f"#!/usr/bin/env -S {BASH}/bin/bash -e", []),
        ("#!bash", ["scripts.relative"]),
        ("#!", ["scripts.missing"]),
        ("#!/build/tools/bash", ["scripts.missing"]),
    ],
)
def test_the_first_line_is_judged(planted: Planted, line: str, found: list[str]) -> None:
    assert judged(planted, line) == found


def test_only_executable_files_are_scripts(planted: Planted) -> None:
    planted.add("share/x", f"#!{BASH}/bin/none\n".encode(), executable=False)
    assert planted.judge().findings == ()


def test_an_interpreter_for_another_machine_is_found(planted: Planted) -> None:
    planted.add("bin/foreign", ElfSpec(machine=62).build(), path=BASH)
    assert judged(planted, f"#!{BASH}/bin/foreign") == ["scripts.foreign"]


def test_an_interpreter_may_be_a_script(planted: Planted) -> None:
    planted.add("bin/wrapped", f"#!{BASH}/bin/bash\n".encode())
    assert judged(planted, f"#!{OUT}/bin/wrapped") == []


def test_an_interpreter_may_be_a_link(planted: Planted) -> None:
    planted.add("bin/sh", "bash", path=BASH)
    assert judged(planted, f"#!{BASH}/bin/sh") == []


def test_scripts_that_name_each_other_are_found(planted: Planted) -> None:
    planted.add("bin/y", f"#!{OUT}/bin/x\n".encode())
    assert judged(planted, f"#!{OUT}/bin/y") == ["scripts.loop"]


def test_a_directory_is_no_interpreter(planted: Planted) -> None:
    assert judged(planted, f"#!{BASH}/bin") == ["scripts.missing"]


def test_unpatched_scripts_are_counted(planted: Planted) -> None:
    for number in range(3):
        planted.add(f"bin/s{number}", b"#!/bin/sh\n")
    planted.add("bin/env", b"#!/usr/bin/env perl\n")
    verdict = planted.judge()
    assert [found.message for found in verdict.findings] == [
        "`/bin/sh` in 3 scripts, such as `out/bin/s0`",
        "`/usr/bin/env` in 1 script, such as `out/bin/env`",
    ]
    assert verdict.accepted
