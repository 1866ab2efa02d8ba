"""What became of a plant, told in terms of its plan: values in, values out."""

import re
from collections.abc import Mapping
from typing import Final

from protocol.store.build_result import BuildResult
from protocol.store.path import StorePath
from shim.plant.plan import Plan

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def cause(plan: Plan, result: BuildResult) -> str:
    """A builder's failure in a line: what ended it, and the last it said.

    Nix's message quotes the log's end in lines that begin with `>`; the client has the whole log.
    """
    text = _COLOUR.sub("", result.error_message).replace(plan.drv_path, plan.native)
    first, *rest = text.splitlines() or [result.status.name]
    said = [line.strip().removeprefix(">").strip() for line in rest if line.strip()[:1] == ">"]
    last = next((line for line in reversed(said) if line), "")
    return f"{first.rstrip(';')}{f'; its last line: {last}' if last else ''}"


def made(plan: Plan, result: BuildResult) -> Mapping[str, StorePath] | None:
    """What the daemon says it made and is to be kept; None if it does not say."""
    found = {name: each.out_path for name, each in result.built_outputs.items()}
    return {name: path for name, path in found.items() if name not in plan.dropped} or None


def forbidden(
    plan: Plan, allowed: frozenset[StorePath], visible: frozenset[StorePath]
) -> Mapping[str, str]:
    """Digest -> why, for everything the plant could see that its result may not refer to."""
    reasons: dict[StorePath, str] = dict.fromkeys(visible, "the build platform")
    for graft in plan.grafts:
        reasons |= dict.fromkeys(graft.derivation.output_paths().values(), "a grafted tool")
    reasons |= dict.fromkeys(plan.forbidden, "the cross package set")
    reasons |= dict.fromkeys(plan.dropped.values(), "an output that only the cross recipe has")
    reasons[plan.drv_path] = "the plant's own recipe"
    permitted = allowed | frozenset(plan.outputs.values())
    return {path.digest: why for path, why in reasons.items() if path not in permitted}
