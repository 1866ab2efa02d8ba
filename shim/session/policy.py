"""Which policy holds for a request, and whether it admits what was made under another one.

The general policy comes first; then every rule whose patterns fit, in order, changes what it
names.  Enforces nothing: that is done where builds are made and outputs are handed out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final

from shim.config import Policy, Rule
from shim.equivalence.grades import DifferenceClass, Grade
from shim.keys import Made

_CHANGES: Final = ("cross", "emulate", "least_grade", "worst_difference")
"""Fields that a rule and the policy have in common."""

_GRADES: Final = {
    Made.IDENTICAL: Grade.IDENTICAL,
    Made.VERIFIED: Grade.VERIFIED,
    Made.CHECKED: Grade.CHECKED,
    Made.REPAIRED: Grade.CHECKED,
    Made.DECLARED: Grade.DECLARED,
}
"""Planted outputs by the kind of their key -> the grade of the pair they came of.  Kinds that are
missing stand for the native recipe: no policy objects to them."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a valid output came about, as far as it was written down."""

    made: Made | None
    """Kind of the key that signed it; None where the native recipe made it, or nobody knows."""
    difference: DifferenceClass | None = None
    """How far the two recipes differ, where a table still has the pair."""


def resolve(policy: Policy, rules: Iterable[Rule], peer: str, system: str, package: str) -> Policy:
    """The policy for one derivation that one peer asks for.

    Args:
        policy: the general one.
        rules: laid over it in order, the last that fits wins.
        peer: name of the peer.
        system: Nix system of the derivation.
        package: name of the derivation, without `.drv`.
    """
    for rule in rules:
        if (
            _fits(rule.peers, peer)
            and _fits(rule.systems, system)
            and _fits(rule.packages, package)
        ):
            changes: dict[str, Any] = {
                name: value for name in _CHANGES if (value := getattr(rule, name)) is not None
            }
            policy = replace(policy, **changes)
    return policy


def _fits(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def objection(policy: Policy, found: Provenance) -> str:
    """Why `policy` does not admit an output that is in the store already; empty if it does."""
    grade = _GRADES.get(found.made) if found.made is not None else None
    if grade is None:
        return ""
    if not policy.cross:
        return "it was cross-compiled, and policy.cross is off"
    if grade < policy.least_grade:
        return (
            f"it was cross-compiled with grade {grade.name.lower()},"
            f" policy.least-grade is {policy.least_grade.name.lower()}"
        )
    if found.difference is not None and found.difference > policy.worst_difference:
        return (
            f"it was cross-compiled by a recipe that differs: {found.difference.name.lower()},"
            f" policy.worst-difference is {policy.worst_difference.name.lower()}"
        )
    return ""
