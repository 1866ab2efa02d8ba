"""The planner: facts about one wanted derivation in, a decision out.

It knows the order of strategies and the operator's policy; it neither asks stores nor runs
anything.  The facts are gathered by `shim.daemon.building.builds`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import shorten

from protocol.store.derivation import Recipe
from protocol.store.path import StorePath
from shim.config import Policy
from shim.equivalence.table import Difference, Entry
from shim.plan.decision import Counterpart, Cross, Decision, Plain, Skipped, Step, Strategy
from shim.plan.fixed import is_builtin
from shim.plant.plan import Decline, Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one wanted derivation when its request arrives."""

    path: StorePath
    """Its .drv path, whether or not the file exists anywhere."""
    derivation: Recipe
    wanted: Mapping[str, StorePath]
    """The outputs asked for, by name."""
    valid: frozenset[StorePath]
    """Those of its outputs that the serving store has."""
    substitutable: frozenset[StorePath]
    """Those that a substituter of the serving store offers."""
    entry: Entry | None
    """The table's entry for it."""
    no_entry: str
    """Why there is none; empty when there is."""
    failed_before: str | None
    """Why planting it failed under the same table and program, if it did."""
    emulator: str | None
    """Why its system cannot be emulated here; None when it can."""
    counterparts: tuple[Counterpart, ...] = ()
    """Where its hash fixes the output: who else makes it here."""
    no_counterpart: str = ""
    """Why nobody does; empty when somebody does."""


PlanPlant = Callable[[Entry], Plan | Decline]


def decide(facts: Facts, policy: Policy, plan: PlanPlant) -> Decision:
    """Order the strategies that can answer `facts`.

    Args:
        facts: what is known.
        policy: what the operator allows.
        plan: computes the plant of an entry; called only when policy lets the entry through.
    """
    if set(facts.wanted.values()) <= facts.valid:
        return Decision((Plain(Strategy.VALID, "the store has it"),), ())
    steps: list[Step] = []
    skipped = [Skipped(Strategy.VALID, "the store lacks it")]
    if set(facts.wanted.values()) <= facts.valid | facts.substitutable:
        steps.append(Plain(Strategy.SUBSTITUTE, "a binary cache has it"))
    else:
        skipped.append(Skipped(Strategy.SUBSTITUTE, "no binary cache has it"))
    for way in _ways(facts, policy, plan):
        if isinstance(way, Skipped):
            skipped.append(way)
        else:
            steps.append(way)
    return Decision(tuple(steps), tuple(skipped))


def _ways(facts: Facts, policy: Policy, plan: PlanPlant) -> tuple[Step | Skipped, ...]:
    """How to make it, best first.  What a hash proves is made whatever policy says of crossing."""
    builder = facts.derivation.builder
    if is_builtin(facts.derivation):
        return (Plain(Strategy.FIXED_OUTPUT, f"`{builder}` is the nix-daemon, on any machine"),)
    if not facts.derivation.is_fixed:
        return _cross(facts, policy, plan), _emulate(facts, policy)
    return (
        *(facts.counterparts or (Skipped(Strategy.FIXED_OUTPUT, facts.no_counterpart),)),
        Skipped(Strategy.CROSS, "its hash decides what it is: there is nothing to plant"),
        _emulate(facts, policy),
    )


def _emulate(facts: Facts, policy: Policy) -> Plain | Skipped:
    if not policy.emulate:
        return Skipped(Strategy.EMULATE, "policy.emulate is off")
    if facts.emulator is not None:
        return Skipped(Strategy.EMULATE, facts.emulator)
    return Plain(Strategy.EMULATE, "the native derivation, under an emulator")


def _shown(difference: Difference) -> str:
    return (
        f"{difference.subject}: `{shorten(difference.native, 70)}`"
        f" became `{shorten(difference.cross, 70)}`"
    )


def _cross(facts: Facts, policy: Policy, plan: PlanPlant) -> Cross | Skipped:
    def no(reason: str) -> Skipped:
        return Skipped(Strategy.CROSS, reason)

    if not policy.cross:
        return no("policy.cross is off")
    entry = facts.entry
    if entry is None:
        return no(facts.no_entry)
    if entry.grade < policy.least_grade:
        return no(
            f"the entry's grade is {entry.grade.name.lower()},"
            f" policy.least-grade is {policy.least_grade.name.lower()}"
        )
    if entry.difference_class > policy.worst_difference:
        worst = next(
            (each for each in entry.differences if each.difference_class is entry.difference_class),
            None,
        )
        return no(
            f"the recipes differ: {entry.difference_class.name.lower()}"
            f"{f' ({_shown(worst)})' if worst else ''},"
            f" policy.worst-difference is {policy.worst_difference.name.lower()}"
        )
    if facts.valid:
        return no("some of its outputs are valid already, and a plant makes all or none")
    if facts.failed_before is not None:
        return no(f"planting it failed before: {facts.failed_before}")
    match plan(entry):
        case Decline(reasons=reasons):
            return no("; ".join(reasons))
        case Plan() as found:
            return Cross(
                entry,
                found,
                f"planting {entry.cross.name}, grade {entry.grade.name.lower()},"
                f" differences {entry.difference_class.name.lower()}",
            )
