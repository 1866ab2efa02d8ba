"""Rules over the general policy, and what a policy says of outputs made under another one."""

import pytest

from shim.config import Policy, Rule
from shim.equivalence.grades import DifferenceClass, Grade
from shim.keys import Made
from shim.session.policy import Provenance, objection, resolve

STRICT = Policy()
OPEN = Policy(cross=True)


def found(*rules: Rule, peer: str = "attic", package: str = "pigz-2.8") -> Policy:
    return resolve(STRICT, rules, peer, "aarch64-linux", package)


def test_without_rules_the_general_policy_holds() -> None:
    assert found() is STRICT


@pytest.mark.parametrize(
    "rule",
    [
        Rule(peers=("attic",), cross=True),
        Rule(peers=("cellar", "att*"), cross=True),
        Rule(systems=("aarch64-*",), cross=True),
        Rule(packages=("pigz-[0-9]*",), cross=True),
        Rule(peers=("?ttic",), systems=("aarch64-linux",), packages=("*",), cross=True),
        Rule(cross=True),
    ],
)
def test_a_rule_that_fits_changes_what_it_names(rule: Rule) -> None:
    assert found(rule) == Policy(cross=True)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(peers=("cellar",), cross=True),
        Rule(peers=("ATTIC",), cross=True),
        Rule(systems=("armv7l-linux",), cross=True),
        Rule(packages=("zlib-*",), cross=True),
        Rule(peers=("attic",), packages=("zlib-*",), cross=True),
    ],
)
def test_a_rule_of_which_one_part_does_not_fit_changes_nothing(rule: Rule) -> None:
    assert found(rule) == STRICT


def test_the_last_rule_that_fits_wins_and_leaves_what_it_does_not_name() -> None:
    rules = (
        Rule(cross=True, least_grade=Grade.DECLARED),
        Rule(packages=("pigz-*",), least_grade=Grade.VERIFIED),
        Rule(packages=("zlib-*",), cross=False),
        Rule(peers=("attic",), emulate=False),
    )
    assert found(*rules) == Policy(cross=True, emulate=False, least_grade=Grade.VERIFIED)


@pytest.mark.parametrize("made", [None, Made.EMULATED, Made.ACCELERATED])
def test_no_policy_objects_to_the_native_recipe(made: Made | None) -> None:
    assert objection(STRICT, Provenance(made)) == ""


@pytest.mark.parametrize(
    ("policy", "provenance", "expected"),
    [
        (STRICT, Provenance(Made.CHECKED), "policy.cross is off"),
        (STRICT, Provenance(Made.IDENTICAL), "policy.cross is off"),
        (OPEN, Provenance(Made.DECLARED), "least-grade is checked"),
        (
            Policy(cross=True, least_grade=Grade.VERIFIED),
            Provenance(Made.REPAIRED),
            "with grade checked, policy.least-grade is verified",
        ),
        (OPEN, Provenance(Made.CHECKED, DifferenceClass.SEMANTIC), "worst-difference is notable"),
    ],
)
def test_a_policy_objects_to_what_it_would_not_have_let_through(
    policy: Policy, provenance: Provenance, expected: str
) -> None:
    assert expected in objection(policy, provenance)


@pytest.mark.parametrize(
    "provenance",
    [
        Provenance(Made.CHECKED),
        Provenance(Made.REPAIRED),
        Provenance(Made.VERIFIED, DifferenceClass.NOTABLE),
    ],
)
def test_a_policy_admits_what_it_would_have_let_through(provenance: Provenance) -> None:
    assert objection(OPEN, provenance) == ""
