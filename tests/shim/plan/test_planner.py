from dataclasses import replace

import pytest

from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import BasicDerivation, FixedOutput, InputAddressed
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from shim.config import Policy
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.table import Entry
from shim.plan.decision import Decision, Strategy
from shim.plan.planner import Facts, decide
from shim.plant.plan import Decline, Kind, Plan, Refusal

OUT = StorePath("/nix/store/" + "a" * 32 + "-pigz-2.8")
CROSS_OUT = StorePath("/nix/store/" + "b" * 32 + "-pigz-aarch64-unknown-linux-gnu-2.8")
NATIVE = StorePath("/nix/store/" + "c" * 32 + "-pigz-2.8.drv")
CROSS = StorePath("/nix/store/" + "d" * 32 + "-pigz-aarch64-unknown-linux-gnu-2.8.drv")

RECIPE = BasicDerivation(
    outputs={"out": InputAddressed(OUT)},
    input_sources=frozenset(),
    platform="aarch64-linux",
    builder="/bin/sh",
    args=(),
    env={"out": OUT},
)
ENTRY = Entry(
    native=NATIVE,
    cross=CROSS,
    native_outputs={"out": OUT},
    cross_outputs={"out": CROSS_OUT},
    role=Role.HOST,
    difference_class=DifferenceClass.BENIGN,
    grade=Grade.CHECKED,
    reason="roots",
    pairing={"out": "out"},
    inputs=(),
    differences=(),
)
PLAN = Plan(
    native=NATIVE,
    cross=CROSS,
    drv_path=StorePath("/nix/store/" + "f" * 32 + "-pigz-2.8.drv"),
    derivation=replace(RECIPE, platform="x86_64-linux"),
    outputs={"out": OUT},
    dropped={},
    grafts=(),
    prerequisites={},
    native_inputs=frozenset(),
    outside=frozenset(),
    sources=frozenset(),
    forbidden=frozenset({CROSS_OUT}),
    opaque={},
    headers=(),
    runtime=(),
    replacements=(),
)
FACTS = Facts(
    path=NATIVE,
    derivation=RECIPE,
    wanted={"out": OUT},
    valid=frozenset(),
    substitutable=frozenset(),
    entry=ENTRY,
    no_entry="",
    failed_before=None,
    emulator=None,
)
ON = Policy(cross=True)


def plan(_: Entry) -> Plan:
    return PLAN


def never(_: Entry) -> Plan:
    raise AssertionError("the plan must not be computed when it cannot be used")


def strategies(decision: Decision) -> list[Strategy]:
    return [step.strategy for step in decision.steps]


def why_not(decision: Decision, strategy: Strategy) -> str:
    return next(each.reason for each in decision.skipped if each.strategy is strategy)


def test_what_is_valid_is_not_made_again() -> None:
    decision = decide(replace(FACTS, valid=frozenset({OUT})), ON, never)
    assert strategies(decision) == [Strategy.VALID]


def test_cross_comes_before_emulation() -> None:
    assert strategies(decide(FACTS, ON, plan)) == [Strategy.CROSS, Strategy.EMULATE]


def test_a_binary_cache_comes_before_both() -> None:
    decision = decide(replace(FACTS, substitutable=frozenset({OUT})), ON, plan)
    assert strategies(decision) == [Strategy.SUBSTITUTE, Strategy.CROSS, Strategy.EMULATE]


def test_cross_is_opt_in() -> None:
    decision = decide(FACTS, Policy(), never)
    assert strategies(decision) == [Strategy.EMULATE]
    assert why_not(decision, Strategy.CROSS) == "policy.cross is off"


@pytest.mark.parametrize(
    ("facts", "policy", "reason"),
    [
        (replace(FACTS, entry=None, no_entry="no table knows it"), ON, "no table knows it"),
        (FACTS, replace(ON, least_grade=Grade.VERIFIED), "policy.least-grade is verified"),
        (FACTS, replace(ON, worst_difference=DifferenceClass.NONE), "worst-difference is none"),
        (replace(FACTS, failed_before="ran a foreign program"), ON, "ran a foreign program"),
        (
            replace(FACTS, wanted={"out": OUT, "dev": CROSS_OUT}, valid=frozenset({OUT})),
            ON,
            "valid already",
        ),
    ],
)
def test_cross_is_ruled_out_with_a_reason(facts: Facts, policy: Policy, reason: str) -> None:
    decision = decide(facts, policy, never)
    assert strategies(decision) == [Strategy.EMULATE]
    assert reason in why_not(decision, Strategy.CROSS)


def test_the_planters_refusal_is_the_reason() -> None:
    decision = decide(FACTS, ON, lambda _: Decline((Refusal(Kind.OUTPUT_MISSING, "no `man`"),)))
    assert "no `man`" in why_not(decision, Strategy.CROSS)


def test_nothing_left_means_decline_with_every_reason() -> None:
    facts = replace(FACTS, emulator="no emulator is registered")
    decision = decide(facts, Policy(), never)
    assert decision.steps == ()
    assert {each.strategy for each in decision.skipped} == {
        Strategy.VALID,
        Strategy.SUBSTITUTE,
        Strategy.CROSS,
        Strategy.EMULATE,
    }


def test_emulation_can_be_switched_off() -> None:
    assert strategies(decide(FACTS, replace(ON, emulate=False), plan)) == [Strategy.CROSS]


def test_a_fixed_output_is_never_planted() -> None:
    content = ContentAddress(Method.NAR, Hash.of(b"x"))
    fixed = replace(RECIPE, outputs={"out": FixedOutput(OUT, content)})
    decision = decide(replace(FACTS, derivation=fixed), ON, never)
    assert strategies(decision) == [Strategy.FIXED_OUTPUT]


def test_the_lines_read_best_first() -> None:
    lines = decide(FACTS, ON, plan).lines()
    assert lines == [
        "not valid: the store lacks it",
        "not substitute: no binary cache has it",
        "cross: planting pigz-aarch64-unknown-linux-gnu-2.8.drv, grade checked, differences benign",
        "emulate: the native derivation, under an emulator",
    ]
