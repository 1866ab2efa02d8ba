"""The lists by which a recipe guards what its result refers to, kept meaningful for another recipe.

Plain variables hold one list for all outputs; structured attributes hold one per output in
`outputChecks` (Nix: `DerivationOptions`).  What was forbidden stays forbidden under every new
name, and what the native recipe forbids is forbidden too; what is allowed is what the native
recipe allows, since the result takes the native one's place.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from shim.plant.slots import words

Names: TypeAlias = Callable[[str], list[str]]
"""Every text by which a path of a guarding list is known after rewriting."""

_FORBID: Final = ("disallowedReferences", "disallowedRequisites")
_ALLOW: Final = ("allowedReferences", "allowedRequisites")
_PER_OUTPUT: Final = "outputChecks"


def guard_env(cross: Mapping[str, str], native: Mapping[str, str], names: Names) -> dict[str, str]:
    """The guarding variables of a plain environment.

    Args:
        cross: environment of the recipe that is rewritten.
        native: environment of the native recipe; empty where there is none.
        names: the new texts of a path.
    """
    lists = _merge(cross, native, names)
    return {variable: " ".join(found) for variable, found in lists.items()}


def guard_structured(
    cross: Mapping[str, Any], native: Mapping[str, Any], names: Names
) -> dict[str, Any]:
    """The guarding attributes of structured attributes; other keys of a check are kept.

    Args:
        cross: attributes of the recipe that is rewritten.
        native: attributes of the native recipe; empty where there are none.
        names: the new texts of a path.
    """
    ours, theirs = cross.get(_PER_OUTPUT), native.get(_PER_OUTPUT)
    if not isinstance(ours, dict) and not isinstance(theirs, dict):
        return {}
    ours, theirs = ours or {}, theirs or {}
    checks = {
        output: {
            **_checks(theirs, output),
            **_checks(ours, output),
            **_merge(_checks(ours, output), _checks(theirs, output), names),
        }
        for output in (*ours, *(each for each in theirs if each not in ours))
    }
    return {_PER_OUTPUT: checks}


def _checks(per_output: Mapping[str, Any], output: str) -> Mapping[str, Any]:
    found = per_output.get(output)
    return found if isinstance(found, dict) else {}


def _merge(
    cross: Mapping[str, Any], native: Mapping[str, Any], names: Names
) -> dict[str, list[str]]:
    merged: dict[str, list[str]] = {}
    for variable in (*_FORBID, *_ALLOW):
        if variable not in cross and variable not in native:
            continue
        ours = [new for word in words(cross.get(variable)) for new in names(word)]
        theirs = words(native.get(variable))
        if variable in _FORBID:
            merged[variable] = list(dict.fromkeys((*ours, *theirs)))
        else:
            merged[variable] = list(dict.fromkeys(theirs if variable in native else ours))
    return merged
