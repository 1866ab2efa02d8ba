"""Which compiler and libc of the cross set may serve a native package, and why not."""

from dataclasses import dataclass

from protocol.store.path import StorePath
from shim.equivalence.table import Toolchain


@dataclass(frozen=True, slots=True)
class Admission:
    """A pair of standard environments that was judged interchangeable."""

    toolchain: Toolchain | None
    """None where the recipe has no standard environment, or the table no row for the pair."""
    headers: tuple[tuple[StorePath, StorePath], ...] = ()
    """Native and cross libc outputs whose `include` must be equal."""
    notes: tuple[str, ...] = ()
