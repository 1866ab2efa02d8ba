"""What planting decides: a plan to be carried out step by step, or a refusal with reasons.

Values only.  A plan is complete: every `.drv` it names is either one of its own grafts or lies in
the closure of the derivations it was made from, and no other path needs to be known to build it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from protocol.store.derivation import BasicDerivation, Derivation
from protocol.store.path import StorePath
from shim.plant.exchange import Exchange


class Kind(StrEnum):
    """Why planting is refused; the word under which refusals are counted."""

    UNKNOWN = "unknown"
    """A derivation that is needed to decide is not available."""
    NO_ENTRY = "no-entry"
    """The table has no counterpart."""
    CONFLICT = "conflict"
    """The table has several counterparts."""
    FIXED = "fixed"
    """The result is determined by its content: there is nothing to plant."""
    SAME_PLATFORM = "same-platform"
    """The counterpart is not built on another platform."""
    OUTPUT_MISSING = "output-missing"
    """The native derivation has an output that the counterpart does not make."""
    NO_COUNTERPART = "no-counterpart"
    """The cross recipe uses a library or program of the target that has no native form."""
    TOOLCHAIN = "toolchain"
    """Native and cross compiler or libc are not interchangeable."""
    UNSUPPORTED = "unsupported"
    """A feature that no plant can honour."""
    LEAK = "leak"
    """A part of a cross path stands where it cannot be replaced."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason not to plant."""

    kind: Kind
    detail: str
    """A sentence: what, which value (in backticks), what would mend it."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Decline:
    """No plan, and why."""

    refusals: tuple[Refusal, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every refusal as a sentence."""
        return tuple(str(refusal) for refusal in self.refusals)


@dataclass(frozen=True, slots=True)
class Replacement:
    """One occurrence of a cross path in the recipe, and what was put there."""

    slot: str
    """The variable, `builder`, `args`, or the key of the structured attributes."""
    old: StorePath
    new: StorePath
    reason: str


@dataclass(frozen=True, slots=True)
class Graft:
    """A wrapper, hook or stdenv with native paths in its recipe: a derivation of its own."""

    path: StorePath
    """Of the grafted `.drv`."""
    derivation: Derivation
    replaces: StorePath
    """The cross set's `.drv` that it was made from."""
    outputs: frozenset[str]
    """Those that the plant or a later graft uses."""
    reason: str
    """Which cross host outputs the original reaches."""
    replacements: tuple[Replacement, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything needed to make a native derivation's outputs from its cross counterpart.

    To be carried out in this order: write `texts`, make `native_inputs` and `sources` valid, plan
    again if `libraries` bring along tools that the plan does not know, copy the `.drv` closures of
    `prerequisites` and of the grafts' input derivations, write the grafts' `.drv` files in order,
    realise `to_realise()`, build `derivation` at `drv_path`, judge, import exactly `outputs`.
    """

    native: StorePath
    """The native `.drv`: the deriver of the outputs when they are imported."""
    cross: StorePath
    """The cross `.drv` that the planted recipe was made from."""
    drv_path: StorePath
    """A `.drv` path with the native name at which no file will ever exist."""
    derivation: BasicDerivation
    """The planted recipe; its outputs are `outputs` and `dropped`."""
    outputs: Mapping[str, StorePath]
    """The native derivation's outputs, exactly."""
    dropped: Mapping[str, StorePath]
    """Outputs that only the cross recipe makes, at paths of their own: never to be imported."""
    grafts: tuple[Graft, ...]
    """In build order."""
    prerequisites: Mapping[StorePath, frozenset[str]]
    """Ungrafted `.drv` that the planted recipe uses directly, and which outputs of each."""
    native_inputs: frozenset[StorePath]
    """Native outputs that must be valid: named by the planted recipe or by a graft."""
    outside: frozenset[StorePath]
    """Those of them that the native derivation's own inputs do not include: to be fetched or
    built.
    """
    sources: frozenset[StorePath]
    """Plain input sources of the planted recipe and of the grafts."""
    forbidden: frozenset[StorePath]
    """Cross host outputs: nothing the plant makes may refer to one."""
    opaque: Mapping[StorePath, str]
    """Compilers kept as they are although they reach cross host outputs: `.drv` -> why."""
    headers: tuple[tuple[StorePath, StorePath], ...]
    """Native and cross libc outputs whose `include` must be equal in content, once both are valid.
    """
    runtime: tuple[tuple[StorePath, StorePath], ...]
    """Native and cross run-time libraries of the toolchain: where both are valid, the native ones
    must define every symbol version that the cross ones do.
    """
    replacements: tuple[Replacement, ...]
    """Every occurrence that the planted recipe differs in from the cross one."""
    libraries: frozenset[StorePath] = frozenset()
    """Native outputs in slots of dependencies: their `nix-support` may name native tools."""
    exchange: Exchange = field(default_factory=Exchange)
    """Tools that change places while it is built."""
    texts: Mapping[StorePath, str] = field(default_factory=dict)
    """Those of `sources` that are to be written, by the path that follows from their contents; they
    refer to nothing.
    """
    notes: tuple[str, ...] = field(default=())

    def to_realise(self) -> dict[StorePath, frozenset[str]]:
        """The `.drv` paths to build before the plant, and the outputs wanted of each."""
        return {
            **self.prerequisites,
            **{graft.path: graft.outputs for graft in self.grafts if graft.outputs},
        }
