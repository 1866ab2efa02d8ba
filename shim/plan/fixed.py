"""Which other derivations make an output that its hash fixes, and run on this machine.  No I/O.

The path of a fixed output follows from its name and hash (Nix: `makeFixedOutputPath`), and a
nix-daemon registers nothing there that has another hash.  So whoever makes it proves by that alone
that it is the right thing: nothing needs to be known of the recipe but where it runs.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from protocol.store.derivation import Derivation, Recipe
from protocol.store.path import StorePath
from shim.plan.decision import Counterpart

BUILTIN: Final = "builtin:"
"""Begins the builders that are the nix-daemon itself (Nix: `BasicDerivation::isBuiltin`)."""

MOST: Final = 3
"""Counterparts that are tried: each may take its time to fail."""


def is_builtin(recipe: Recipe) -> bool:
    """Whether the nix-daemon is its builder, which it is for every system."""
    return recipe.builder.startswith(BUILTIN)


def counterparts(
    makers: Mapping[StorePath, Derivation],
    wanted: Iterable[StorePath],
    system: str,
    *,
    tabled: bool,
) -> tuple[Counterpart, ...]:
    """Those of `makers` that make what is wanted on this machine, those without a builder first.

    Args:
        makers: `.drv` -> derivation, some of which may make it.
        wanted: the output paths.
        system: Nix system of this machine.
        tabled: whether a table has them, or else the serving store.
    """
    paths = frozenset(wanted)
    who = "a table" if tabled else "the store"
    found = [
        (drv, derivation)
        for drv, derivation in makers.items()
        if derivation.is_fixed
        and (derivation.platform == system or is_builtin(derivation))
        and paths <= frozenset(derivation.output_paths().values())
    ]
    found.sort(key=lambda each: not is_builtin(each[1]))
    return tuple(
        Counterpart(
            drv,
            frozenset(name for name, path in derivation.output_paths().items() if path in paths),
            tabled,
            f"{who} has `{drv.base}` ({derivation.platform}) for the same hash",
        )
        for drv, derivation in found[:MOST]
    )
