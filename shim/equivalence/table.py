"""The rows of an equivalence table and the questions that can be asked of it.

A table does not care where its rows live: `Rows` is answered from memory by `MemoryRows` and from
a mapped file by `shim.equivalence.file`.  Which pairs are good enough is policy, not decided here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

from protocol.store.path import StorePath
from shim.equivalence.grades import DifferenceClass, Grade, Role


@dataclass(frozen=True, slots=True)
class InputPair:
    """A store path that the native recipe mentions, and what the cross one has at its place."""

    slot: str
    """The variable that mentions it (`buildInputs`, `postInstall`, ...), `builder` or `args`."""
    native: StorePath
    """An output path, or a plain source."""
    cross: StorePath
    role: Role
    reason: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the cross recipe differs from the native one."""

    rule: str
    """Name of the rule that classed it (`shim.equivalence.differences.RULES`)."""
    subject: str
    """The variable, `outputs`, or the dependency slot that differs."""
    native: str
    """What only the native recipe says; shortened."""
    cross: str
    """What only the cross recipe says; shortened."""
    difference_class: DifferenceClass


@dataclass(frozen=True)
class Entry:
    """A native derivation, its counterpart in one role, and why they are taken for one another."""

    native: StorePath
    """The native `.drv`."""
    cross: StorePath
    """The `.drv` that stands in for it."""
    native_outputs: Mapping[str, StorePath]
    cross_outputs: Mapping[str, StorePath]
    role: Role
    difference_class: DifferenceClass
    grade: Grade
    reason: str
    pairing: Mapping[str, str]
    """Native output name -> name of the cross output that corresponds; unlisted ones have none."""
    inputs: tuple[InputPair, ...] = field(repr=False)
    differences: tuple[Difference, ...] = field(repr=False)

    @classmethod
    def stored(cls, later: Mapping[str, Callable[[], Any]], **head: Any) -> "Entry":
        """An entry of which some fields are decoded when first asked for.

        Args:
            later: field -> what gives it; called at most once.
            head: every other field.
        """
        entry = object.__new__(cls)
        entry.__dict__.update(head, _later=later)
        return entry

    def __getattr__(self, name: str) -> Any:
        """Only reached for a field that is not there yet: see `stored`."""
        decode = self.__dict__.get("_later", {}).get(name)
        if decode is None:
            raise AttributeError(name)
        value = self.__dict__[name] = decode()
        return value

    def output_pairs(self) -> Iterator[tuple[StorePath, StorePath]]:
        """Native and cross path of each output that both sides have."""
        for native, cross in self.pairing.items():
            yield self.native_outputs[native], self.cross_outputs[cross]

    def cross_of(self, native_output: StorePath) -> StorePath | None:
        """The cross output that corresponds to `native_output`."""
        return next(
            (cross for native, cross in self.output_pairs() if native == native_output), None
        )

    def native_of(self, cross_output: StorePath) -> StorePath | None:
        """The native output that corresponds to `cross_output`."""
        return next(
            (native for native, cross in self.output_pairs() if cross == cross_output), None
        )


@dataclass(frozen=True, slots=True)
class Toolchain:
    """One native standard environment and the cross one that serves its packages."""

    native: StorePath
    """The native stdenv's `.drv`."""
    cross: StorePath
    """The cross stdenv's `.drv`."""
    triple: str
    """The host platform's GNU triple, as the cross compiler is named after it."""
    native_compiler: StorePath | None
    """Output path of the native compiler wrapper; None where a stdenv has no compiler."""
    cross_compiler: StorePath | None
    libraries: tuple[InputPair, ...]
    """What compiled code refers to: `libc_lib`, `libc_dev`, `libc_bin`, `cc.lib`, `cc.libgcc`."""
    reason: str


@dataclass(frozen=True, slots=True)
class Unpaired:
    """A derivation of a walked graph for which no counterpart was found."""

    path: StorePath
    """A native `.drv` (or a cross one, where `native` is false)."""
    native: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a table comes from.  All but the two systems may be empty."""

    native_system: str = ""
    build_system: str = ""
    triple: str = ""
    source: str = ""
    """What was evaluated: a flake reference, file or root list; never a path of one machine."""
    revision: str = ""
    nix_version: str = ""
    date: str = ""
    """ISO 8601, UTC."""
    roots: tuple[tuple[StorePath, StorePath], ...] = ()


UNKNOWN: Final = Provenance()
"""Nothing is said about where a table comes from."""


class Rows(Protocol):
    """Where a table's entries live."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Entry: ...

    def find(self, path: StorePath) -> Sequence[int]:
        """Numbers of the rows with `path` as derivation or output, on either side, ascending."""
        ...


class MemoryRows:
    """Entries in a list, indexed by every path they have."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)

    @cached_property
    def _index(self) -> Mapping[StorePath, Sequence[int]]:
        index: dict[StorePath, list[int]] = {}
        for number, entry in enumerate(self._entries):
            outputs = (*entry.native_outputs.values(), *entry.cross_outputs.values())
            for path in {entry.native, entry.cross, *outputs}:
                index.setdefault(path, []).append(number)
        return index

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number]

    def find(self, path: StorePath) -> Sequence[int]:
        """Row numbers of `path`, ascending."""
        return self._index.get(path, ())


_ROLE_ORDER = {Role.HOST: 0, Role.TOOLCHAIN: 1, Role.TOOL: 2}


class Table:
    """Questions about entries.  Answers with several entries list host ones first."""

    def __init__(
        self,
        rows: Rows,
        *,
        provenance: Provenance = UNKNOWN,
        toolchains: tuple[Toolchain, ...] = (),
        unpaired: Sequence[Unpaired] = (),
    ) -> None:
        self.rows = rows
        self.provenance = provenance
        self.toolchains = toolchains
        self.unpaired = unpaired

    @classmethod
    def of(cls, entries: Iterable[Entry], **rest: Any) -> "Table":
        """A table in memory; `rest` as for the constructor."""
        return cls(MemoryRows(entries), **rest)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Entry]:
        """Every entry, in the table's order (native derivation, then role, then cross one)."""
        return (self.rows[number] for number in range(len(self.rows)))

    def _having(self, path: StorePath, wanted: Callable[[Entry], bool]) -> tuple[Entry, ...]:
        found = [
            entry for entry in map(self.rows.__getitem__, self.rows.find(path)) if wanted(entry)
        ]
        return tuple(sorted(found, key=lambda entry: _ROLE_ORDER[entry.role]))

    def by_derivation(self, native: StorePath) -> tuple[Entry, ...]:
        """Entries of a native `.drv`."""
        return self._having(native, lambda entry: entry.native == native)

    def by_output(self, native: StorePath) -> tuple[Entry, ...]:
        """Entries whose native derivation makes the output path `native`."""
        return self._having(native, lambda entry: native in entry.native_outputs.values())

    def by_native(self, path: StorePath) -> tuple[Entry, ...]:
        """Entries of a native `.drv` or native output path."""
        return self.by_derivation(path) or self.by_output(path)

    def by_cross(self, path: StorePath) -> tuple[Entry, ...]:
        """Entries of a cross `.drv` or cross output path."""
        return self._having(
            path, lambda entry: entry.cross == path or path in entry.cross_outputs.values()
        )

    def host_entry(self, path: StorePath) -> Entry | None:
        """The one host entry of a native `.drv` or output path; None when absent or in conflict.

        Derivations that make the same outputs are one and the same thing here.
        """
        found = [entry for entry in self.by_native(path) if entry.role is Role.HOST]
        if len(found) > 1 and len({_outputs(entry) for entry in found}) > 1:
            return None
        return found[0] if found else None

    def native_output_for(self, cross: StorePath) -> StorePath | None:
        """The native output that takes the place of the cross *host* output `cross`.

        Compiler libraries and libc count (their role is `toolchain`), tools do not.  None when
        there is no such output, or when two entries disagree.
        """
        found = {
            native
            for entry in self.by_cross(cross)
            if entry.role is not Role.TOOL and (native := entry.native_of(cross)) is not None
        }
        return found.pop() if len(found) == 1 else None

    def tool_for(self, native: StorePath) -> StorePath | None:
        """The build-platform output that does what the native tool output `native` does."""
        found = {
            cross
            for entry in self.by_output(native)
            if entry.role is Role.TOOL and (cross := entry.cross_of(native)) is not None
        }
        return found.pop() if len(found) == 1 else None

    def conflicts(self) -> Iterator[tuple[Entry, ...]]:
        """Groups of entries that give one native derivation several counterparts in one role.

        A compiler split by output is none: each of its outputs has one counterpart.
        """
        groups: dict[tuple[StorePath, Role], list[Entry]] = {}
        for entry in self:
            groups.setdefault((entry.native, entry.role), []).append(entry)
        for group in groups.values():
            if len({_outputs(entry) for entry in group}) > 1 and not _split(group):
                yield tuple(group)


def _split(group: Sequence[Entry]) -> bool:
    paired = [name for entry in group for name in entry.pairing]
    return all(entry.role is Role.TOOLCHAIN for entry in group) and len(paired) == len(set(paired))


def _outputs(entry: Entry) -> tuple[StorePath, ...]:
    return tuple(sorted(entry.cross_outputs.values()))
