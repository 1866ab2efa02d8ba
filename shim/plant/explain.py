"""Plans and refusals in readable and in machine-readable form.  Prints nothing itself."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.store.path import StorePath
from shim.plant.plan import Decline, Graft, Kind, Plan, Replacement


def tree(result: Plan | Decline) -> str:
    """A plan as an indented tree, or the reasons for declining, one a line."""
    match result:
        case Decline():
            return "\n".join(("declined", *(f"  {reason}" for reason in result.reasons)))
        case Plan():
            return "\n".join(_plan(result))


def as_json(result: Plan | Decline) -> dict[str, Any]:
    """The same as plain values: texts, lists and dictionaries, in a fixed order."""
    match result:
        case Decline(refusals):
            reasons = [{"kind": each.kind, "detail": each.detail} for each in refusals]
            return {"declined": reasons}
        case Plan():
            derivation = result.derivation
            return {
                "native": result.native,
                "cross": result.cross,
                "drvPath": result.drv_path,
                "outputs": _sorted(result.outputs),
                "dropped": _sorted(result.dropped),
                "derivation": {
                    "system": derivation.platform,
                    "builder": derivation.builder,
                    "args": list(derivation.args),
                    "env": _sorted(derivation.env),
                    "outputs": _sorted(derivation.output_paths()),
                    "inputSources": sorted(derivation.input_sources),
                },
                "replacements": [_replacement(each) for each in result.replacements],
                "grafts": [_graft(each) for each in result.grafts],
                "prerequisites": _wanted(result.prerequisites),
                "nativeInputs": sorted(result.native_inputs),
                "outside": sorted(result.outside),
                "sources": sorted(result.sources),
                "forbidden": sorted(result.forbidden),
                "opaque": _sorted(result.opaque),
                "headers": [list(pair) for pair in result.headers],
                "runtime": [list(pair) for pair in result.runtime],
                "exchange": {
                    "aside": list(result.exchange.aside),
                    "recorded": _sorted(result.exchange.recorded),
                },
                "texts": _sorted(result.texts),
                "notes": list(result.notes),
            }


@dataclass(frozen=True, slots=True)
class Summary:
    """How many derivations can be planted, and why the others cannot."""

    asked: int
    planned: int
    grafts: int
    """Different grafts that all plans need together."""
    declined: Mapping[Kind, tuple[str, ...]]
    """Names of the declined derivations, by the first reason, the most frequent first."""

    def lines(self) -> Iterator[str]:
        """For people: counts, shares, and a few names for each reason."""
        share = 100 * self.planned / max(self.asked, 1)
        yield f"{self.planned} of {self.asked} planned ({share:.1f} %), {self.grafts} grafts in all"
        for kind, names in self.declined.items():
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            yield f"  {len(names):5} declined: {kind} ({shown})"

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, with every name."""
        return {
            "asked": self.asked,
            "planned": self.planned,
            "grafts": self.grafts,
            "declined": {kind: list(names) for kind, names in self.declined.items()},
        }


def summary(results: Iterable[tuple[StorePath, Plan | Decline]]) -> Summary:
    """Count plans and refusals.

    Args:
        results: native `.drv` and what became of it.
    """
    asked = planned = 0
    grafts: set[StorePath] = set()
    declined: dict[Kind, list[str]] = {}
    for path, result in results:
        asked += 1
        match result:
            case Plan():
                planned += 1
                grafts |= {graft.path for graft in result.grafts}
            case Decline(refusals):
                declined.setdefault(refusals[0].kind, []).append(path.name.removesuffix(".drv"))
    ordered = sorted(declined.items(), key=lambda item: (-len(item[1]), item[0]))
    return Summary(
        asked, planned, len(grafts), {kind: tuple(sorted(names)) for kind, names in ordered}
    )


def _plan(plan: Plan) -> Iterator[str]:
    yield f"plant {plan.native}"
    yield f"  from {plan.cross}"
    yield from _section("outputs", (f"{name} -> {path}" for name, path in _items(plan.outputs)))
    yield from _section("dropped outputs", (f"{name}" for name in plan.dropped))
    yield from _section("replaced", _replaced(plan.replacements))
    yield from _section("grafts, in build order", (_graft_line(each) for each in plan.grafts))
    yield from _section("compilers kept as they are", _opaque(plan))
    yield from _section(
        "to realise as they are",
        (f"{path.name} ({', '.join(sorted(names))})" for path, names in _items(plan.prerequisites)),
    )
    yield from _section(
        "native paths needed",
        (
            f"{path.name}{' (not among the inputs of the native derivation)' * outside}"
            for path in sorted(plan.native_inputs, key=lambda path: path.name)
            for outside in [path in plan.outside]
        ),
    )
    yield from _section(
        "must have equal headers", (f"{one.name} and {other.name}" for one, other in plan.headers)
    )
    yield from _section(
        "must offer the same symbol versions",
        (f"{one.name} and {other.name}" for one, other in plan.runtime),
    )
    yield from _section("tools that change places", _exchanged(plan))
    yield from _section("notes", plan.notes)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    shown = list(lines)
    if shown:
        yield f"  {title}:"
        yield from (f"    {line}" for line in shown)


def _replaced(replacements: Iterable[Replacement]) -> Iterator[str]:
    """One line for each pair of paths: a library is often mentioned in five variables."""
    slots: dict[tuple[StorePath, StorePath], list[str]] = {}
    reasons: dict[tuple[StorePath, StorePath], str] = {}
    for row in replacements:
        pair = row.old, row.new
        slots.setdefault(pair, []).append(row.slot)
        reasons.setdefault(pair, row.reason)
    for (old, new), where in slots.items():
        yield f"{old.name} -> {new.name} in {', '.join(where)} ({reasons[old, new]})"


def _graft_line(graft: Graft) -> str:
    return f"{graft.path.name}: {graft.reason}"


def _opaque(plan: Plan) -> Iterator[str]:
    for path, why in _items(plan.opaque):
        yield f"{path.name}: {why}"


def _exchanged(plan: Plan) -> Iterator[str]:
    for path in plan.exchange.aside:
        yield f"{path.name}: named by a native library, not looked at by the build"
    for tool, native in _items(plan.exchange.recorded):
        yield f"{tool.name}: runs in the build; {native} is named in the result"


def _replacement(row: Replacement) -> dict[str, str]:
    return {"slot": row.slot, "old": row.old, "new": row.new, "reason": row.reason}


def _graft(graft: Graft) -> dict[str, Any]:
    return {
        "path": graft.path,
        "replaces": graft.replaces,
        "outputs": sorted(graft.outputs),
        "reason": graft.reason,
        "replacements": [_replacement(each) for each in graft.replacements],
    }


def _wanted(wanted: Mapping[StorePath, frozenset[str]]) -> dict[str, list[str]]:
    return {path: sorted(names) for path, names in _items(wanted)}


def _sorted(mapping: Mapping[Any, str]) -> dict[str, str]:
    return dict(_items(mapping))


def _items(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return sorted(mapping.items())
