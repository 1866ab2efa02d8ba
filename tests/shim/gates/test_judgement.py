import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from shim.gates import judge
from shim.gates.gate import Gate, Item
from shim.gates.judgement import GATES
from shim.gates.rules import RULES, Override
from shim.gates.settings import Limits, Settings
from shim.gates.shipped import SHIPPED
from shim.gates.verdict import Severity
from tests.support.elf import ElfSpec
from tests.support.planted import BUILD_BASH, GLIBC, LOADER, Planted, rules, store_path


def missing_output(planted: Planted) -> None:
    planted.outputs["dev"] = store_path("demo-1.0-dev", "5")


def forbidden(planted: Planted) -> None:
    planted.add("share/x", BUILD_BASH.encode())


def foreign(planted: Planted) -> None:
    planted.add("lib/x.o", ElfSpec(machine=62, type=1).build())


def not_loadable(planted: Planted) -> None:
    planted.add("bin/x", ElfSpec(interpreter=LOADER, needed=["libnone.so"]).build())


def broken_script(planted: Planted) -> None:
    planted.add("bin/x", f"#!{GLIBC}/bin/none\n".encode())


def leaky(planted: Planted) -> None:
    planted.add("bin/x", b"#!/bin/sh\ncd /build/demo/x\n")


def misshapen(planted: Planted) -> None:
    planted.add("share/x", b"x").chmod(0o640)


DEFECTS: dict[str, Callable[[Planted], None]] = {
    "outputs": missing_output,
    "references": forbidden,
    "elf": foreign,
    "loading": not_loadable,
    "scripts": broken_script,
    "leaks": leaky,
    "shape": misshapen,
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_gate_rejects_what_no_other_gate_does(planted: Planted, name: str) -> None:
    DEFECTS[name](planted)
    verdict = planted.judge()
    found = {rule.partition(".")[0] for rule in rules(verdict, Severity.WARNING)}
    assert found == {name}
    assert not verdict.accepted
    others = tuple(gate for gate in GATES if gate.name != name)
    assert judge(planted.subject(), gates=others).accepted


def test_every_gate_has_a_defect_here_and_every_rule_a_gate() -> None:
    assert {gate.name for gate in GATES} == set(DEFECTS)
    assert {rule.partition(".")[0] for rule in RULES} == {*DEFECTS, "gate", "contents", "repair"}


class Crashing(Gate):
    name: ClassVar = "crashing"

    def content(self, item: Item) -> None:
        raise RuntimeError(item.path)


def test_a_gate_that_crashes_rejects_and_is_our_bug(planted: Planted) -> None:
    verdict = judge(planted.subject(), gates=(*GATES, Crashing))
    (found,) = verdict.findings
    assert found.rule == "gate.crashed"
    assert "crashing: RuntimeError" in found.message
    assert "report" in found.advice
    assert not verdict.accepted


class Unmakeable(Gate):
    name: ClassVar = "unmakeable"

    def __init__(self, *_: object) -> None:
        raise MemoryError


def test_a_gate_that_cannot_even_be_made_rejects_too(planted: Planted) -> None:
    verdict = judge(planted.subject(), gates=(*GATES, Unmakeable))
    assert rules(verdict) == ["gate.crashed"]
    assert not verdict.accepted


def test_no_override_lets_a_crash_pass(planted: Planted) -> None:
    lax = Settings().with_overrides([Override("*", Severity.NOTE, "because")])
    assert not judge(planted.subject(), lax, gates=(*GATES, Crashing)).accepted


def test_the_last_override_that_applies_decides(planted: Planted) -> None:
    foreign(planted)
    relaxed = Override("elf.*", Severity.NOTE, "because", name="demo-*", path="out/lib/*")
    settings = Settings().with_overrides([relaxed])
    verdict = planted.judge(settings)
    assert verdict.accepted
    assert verdict.findings[0].message.endswith("(because)")
    strict = Override("elf.machine", Severity.ERROR, "no", name="demo-1.0")
    assert not planted.judge(settings.with_overrides([strict])).accepted
    elsewhere = Override("elf.*", Severity.NOTE, "because", name="other-*")
    assert not planted.judge(Settings().with_overrides([elsewhere])).accepted


def test_overrides_that_ship_spare_references(planted: Planted) -> None:
    assert not any(override.applies("references.forbidden", "x", "x") for override in SHIPPED)
    assert all(override.severity < Severity.ERROR for override in SHIPPED)
    assert planted.judge().accepted


def test_many_findings_of_a_rule_are_counted(planted: Planted) -> None:
    for number in range(10):
        planted.add(f"lib/{number}.o", ElfSpec(machine=62, type=1).build())
    settings = dataclasses.replace(Settings(), limits=Limits(findings=3))
    verdict = planted.judge(settings)
    assert len(verdict.findings) == 4
    assert any(found.message == "7 more like it" for found in verdict.findings)


def test_a_verdict_says_in_a_line_how_it_ended(planted: Planted) -> None:
    assert planted.judge().summary() == "gates passed: 3 files, nothing found"
    foreign(planted)
    assert planted.judge().summary() == (
        "gates rejected it: 5 files, 1 error; first: "
        "error elf.machine out/lib/x.o+0x12: made for x86-64, not AArch64"
    )


def test_a_verdict_survives_json(planted: Planted) -> None:
    foreign(planted)
    form = planted.judge().as_json()
    assert form["accepted"] is False
    assert form["findings"][0]["rule"] == "elf.machine"
    assert form["findings"][0]["severity"] == "error"


def test_too_many_entries_reject(planted: Planted) -> None:
    settings = dataclasses.replace(Settings(), limits=Limits(entries=2))
    verdict = planted.judge(settings)
    assert rules(verdict) == ["contents.limit"]
    assert not verdict.accepted


def test_the_documentation_has_every_rule_with_its_weight() -> None:
    text = (Path(__file__).parents[3] / "docs/gates.md").read_text()
    for rule, known in RULES.items():
        assert f"| `{rule}` | {known.severity.name.lower()} | {known.title} |" in text


def test_libraries_sought_in_too_many_places_reject(planted: Planted) -> None:
    names = [f"lib{number}.so" for number in range(100)]
    runpath = ":".join(f"{GLIBC}/{number}" for number in range(100))
    planted.add("bin/x", ElfSpec(interpreter=LOADER, needed=names, runpath=runpath).build())
    settings = dataclasses.replace(Settings(), limits=Limits(lookups=1000))
    verdict = planted.judge(settings)
    (found,) = [found for found in verdict.findings if found.rule == "contents.limit"]
    assert "`lookups`" in found.message
    assert not verdict.accepted
