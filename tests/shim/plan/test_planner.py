from dataclasses import replace
from typing import Any

import pytest

from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import BasicDerivation, Derivation, FixedOutput, InputAddressed
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from shim.config import Policy
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.table import Entry
from shim.plan.decision import Counterpart, Decision, Strategy
from shim.plan.explain import explained, lines
from shim.plan.fixed import counterparts
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


MAKER_CONTENT = ContentAddress(Method.NAR, Hash.of(b"x"))
FIXED = replace(RECIPE, outputs={"out": FixedOutput(OUT, MAKER_CONTENT)})
MAKER = Derivation(
    name="pigz-2.8",
    outputs=FIXED.outputs,
    input_sources=frozenset(),
    input_derivations={},
    platform="x86_64-linux",
    builder="/bin/sh",
    args=(),
    env={"out": OUT},
)


def of_its_hash(**changes: Any) -> Facts:
    """Facts about the fixed output; nobody else makes it unless `changes` say so."""
    return replace(FACTS, derivation=FIXED, **{"no_counterpart": "nobody does", **changes})


def found(**makers: Derivation) -> tuple[Counterpart, ...]:
    """The counterparts among derivations, which are named by the digits of their paths."""
    paths = {
        StorePath(f"/nix/store/{digit * 32}-pigz-2.8.drv"): each for digit, each in makers.items()
    }
    return counterparts(paths, [OUT], "x86_64-linux", tabled=True)


def test_a_fixed_output_is_never_planted() -> None:
    decision = decide(of_its_hash(), ON, never)
    assert strategies(decision) == [Strategy.EMULATE]
    assert "nothing to plant" in why_not(decision, Strategy.CROSS)
    assert why_not(decision, Strategy.FIXED_OUTPUT) == "nobody does"


def test_a_fixed_output_is_made_by_its_counterpart_before_it_is_emulated() -> None:
    (counterpart,) = found(c=MAKER)
    decision = decide(of_its_hash(counterparts=(counterpart,)), ON, never)
    assert decision.steps[0] == counterpart
    assert strategies(decision) == [Strategy.FIXED_OUTPUT, Strategy.EMULATE]
    assert counterpart.outputs == {"out"}
    assert f"{'c' * 32}-pigz-2.8.drv" in counterpart.reason


def test_a_hash_suits_every_policy() -> None:
    strict = Policy(
        cross=False,
        emulate=False,
        least_grade=Grade.IDENTICAL,
        worst_difference=DifferenceClass.NONE,
    )
    decision = decide(of_its_hash(counterparts=found(c=MAKER)), strict, never)
    assert strategies(decision) == [Strategy.FIXED_OUTPUT]


def test_a_binary_cache_comes_before_a_counterpart() -> None:
    facts = of_its_hash(counterparts=found(c=MAKER), substitutable=frozenset({OUT}))
    assert strategies(decide(facts, ON, never)) == [
        Strategy.SUBSTITUTE,
        Strategy.FIXED_OUTPUT,
        Strategy.EMULATE,
    ]


@pytest.mark.parametrize("recipe", [RECIPE, FIXED], ids=["by its inputs", "by its hash"])
def test_what_the_nix_daemon_itself_builds_needs_no_emulator(recipe: BasicDerivation) -> None:
    builtin = replace(recipe, builder="builtin:fetchurl")
    decision = decide(
        replace(FACTS, derivation=builtin, emulator="no emulator is registered"), ON, never
    )
    assert strategies(decision) == [Strategy.FIXED_OUTPUT]


def test_a_fixed_output_that_nobody_makes_here_is_declined_with_every_reason() -> None:
    decision = decide(of_its_hash(emulator="no emulator is registered"), ON, never)
    assert decision.steps == ()
    assert why_not(decision, Strategy.FIXED_OUTPUT) == "nobody does"
    assert why_not(decision, Strategy.EMULATE) == "no emulator is registered"


@pytest.mark.parametrize(
    "other",
    [
        replace(MAKER, platform="aarch64-linux"),
        replace(MAKER, outputs={"out": InputAddressed(OUT)}),
        replace(MAKER, outputs={"out": FixedOutput(CROSS_OUT, MAKER_CONTENT)}),
    ],
    ids=["of another system", "not fixed", "of another output"],
)
def test_what_is_no_counterpart(other: Derivation) -> None:
    assert found(c=other) == ()


def test_a_counterpart_that_is_the_nix_daemons_own_comes_first_and_of_many_few_are_tried() -> None:
    builtin = replace(MAKER, builder="builtin:fetchurl", platform="builtin")
    made = found(a=MAKER, b=MAKER, c=builtin, d=MAKER)
    assert [each.derivation.base[0] for each in made] == ["c", "a", "b"]


def test_a_counterpart_is_explained() -> None:
    decision = decide(of_its_hash(counterparts=found(c=MAKER)), ON, never)
    told = explained(decision)
    assert told["steps"][0]["strategy"] == "fixed-output"
    assert told["steps"][0]["counterpart"].endswith("-pigz-2.8.drv")
    assert any("made by /nix/store/ccc" in line for line in lines(told))


def test_the_lines_read_best_first() -> None:
    lines = decide(FACTS, ON, plan).lines()
    assert lines == [
        "not valid: the store lacks it",
        "not substitute: no binary cache has it",
        "cross: planting pigz-aarch64-unknown-linux-gnu-2.8.drv, grade checked, differences benign",
        "emulate: the native derivation, under an emulator",
    ]
