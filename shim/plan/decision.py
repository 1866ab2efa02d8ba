"""What the planner returns: strategies to try in order, and why better ones are not among them.

A decision does nothing.  Whoever carries it out tries `steps` from the front; the first that
succeeds ends it, a failure is reported and the next step is tried.
"""

from dataclasses import dataclass
from enum import StrEnum

from protocol.store.path import StorePath
from shim.equivalence.table import Entry
from shim.plant.plan import Plan


class Strategy(StrEnum):
    """The ways to an output, best first (DESIGN section 4)."""

    VALID = "valid"
    SUBSTITUTE = "substitute"
    FIXED_OUTPUT = "fixed-output"
    CROSS = "cross"
    EMULATE = "emulate"


@dataclass(frozen=True, slots=True)
class Plain:
    """Valid, substitute, fixed-output or emulate: the derivation is used as it is."""

    strategy: Strategy
    reason: str


@dataclass(frozen=True, slots=True)
class Counterpart:
    """Realise another derivation, which makes the same fixed output on this machine."""

    derivation: StorePath
    """Its `.drv`, in the serving store or in the one that tables' derivations are in."""
    outputs: frozenset[str]
    """What is wanted, by its own names."""
    tabled: bool
    """Whether a table has it.  The store's own came from boards: for those nothing is taken from
    the store of the tables' derivations, which boards do not see."""
    reason: str
    strategy: Strategy = Strategy.FIXED_OUTPUT


@dataclass(frozen=True, slots=True)
class Cross:
    """Plant the cross derivation of `entry` as `plan` says."""

    entry: Entry
    plan: Plan
    reason: str
    strategy: Strategy = Strategy.CROSS


Step = Plain | Counterpart | Cross


@dataclass(frozen=True, slots=True)
class Skipped:
    """A strategy that cannot be used here, and why."""

    strategy: Strategy
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to try, and what was ruled out.  No step at all means: decline."""

    steps: tuple[Step, ...]
    skipped: tuple[Skipped, ...]

    def lines(self) -> list[str]:
        """One line per strategy considered, in order of preference."""
        order = list(Strategy)
        rows = [
            (order.index(step.strategy), f"{step.strategy}: {step.reason}") for step in self.steps
        ]
        rows += [
            (order.index(row.strategy), f"not {row.strategy}: {row.reason}") for row in self.skipped
        ]
        return [line for _, line in sorted(rows)]
