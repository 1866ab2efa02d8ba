"""A decision as an operator reads it: what would be done, and why not what is better."""

from collections.abc import Iterator, Mapping
from typing import Any

from shim.plan.decision import Counterpart, Cross, Decision


def explained(decision: Decision) -> dict[str, Any]:
    """A decision as JSON: `steps` to try in order, and the strategies that were `skipped`."""
    steps = []
    for step in decision.steps:
        row: dict[str, Any] = {"strategy": step.strategy.value, "reason": step.reason}
        if isinstance(step, Cross):
            row |= {
                "cross": step.entry.cross,
                "grade": step.entry.grade.name.lower(),
                "class": step.entry.difference_class.name.lower(),
                "differences": len(step.entry.differences),
                "grafts": len(step.plan.grafts),
            }
        elif isinstance(step, Counterpart):
            row["counterpart"] = step.derivation
        steps.append(row)
    skipped = [
        {"strategy": each.strategy.value, "reason": each.reason} for each in decision.skipped
    ]
    return {"steps": steps, "skipped": skipped}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `explained` gives, for a terminal."""
    if not found["steps"]:
        yield "cannot be made here"
    for number, step in enumerate(found["steps"], 1):
        yield f"{number}. {step['strategy']}: {step['reason']}"
        if "cross" in step:
            yield f"   planted from {step['cross']}, {step['grafts']} grafts"
        if "counterpart" in step:
            yield f"   made by {step['counterpart']}"
    if found["skipped"]:
        yield "not used:"
    for row in found["skipped"]:
        first, *rest = row["reason"].splitlines() or [""]
        yield f"   {row['strategy']}: {first}"
        yield from (f"      {line}" for line in rest)
