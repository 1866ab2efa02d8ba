"""Generated entries and tables."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from protocol.store.base32 import ALPHABET
from protocol.store.path import StorePath
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.table import (
    Difference,
    Entry,
    InputPair,
    Provenance,
    Table,
    Toolchain,
    Unpaired,
)

STORE = "/nix/store"

digests = st.integers(0, 32**4 - 1).map(
    lambda number: "".join(ALPHABET[number // 32**i % 32] for i in range(4)) * 8
)
names = st.sampled_from(["zlib-1.3", "gcc", "python3.11-x", "a+b"])
texts = st.text(max_size=20) | st.just("flag \udcff")


def paths(suffix: str = "") -> SearchStrategy[StorePath]:
    return st.builds(
        lambda digest, name: StorePath(f"{STORE}/{digest}-{name}{suffix}"), digests, names
    )


outputs = st.dictionaries(st.sampled_from(["out", "dev", "lib", "man"]), paths(), min_size=1)
inputs = st.builds(InputPair, names, paths(), paths(), st.sampled_from(Role), texts)
differences = st.builds(Difference, names, names, texts, texts, st.sampled_from(DifferenceClass))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    natives, crosses = draw(outputs), draw(outputs)
    return Entry(
        native=draw(paths(".drv")),
        cross=draw(paths(".drv")),
        native_outputs=natives,
        cross_outputs=crosses,
        role=draw(st.sampled_from(Role)),
        difference_class=draw(st.sampled_from(DifferenceClass)),
        grade=draw(st.sampled_from(Grade)),
        reason=draw(texts),
        pairing={name: name for name in natives if name in crosses},
        inputs=tuple(draw(st.lists(inputs, max_size=2))),
        differences=tuple(draw(st.lists(differences, max_size=2))),
    )


def key(entry: Entry) -> tuple[StorePath, Role, StorePath]:
    return entry.native, entry.role, entry.cross


entry_lists = st.lists(entries(), max_size=4, unique_by=key).map(
    lambda found: sorted(found, key=key)
)
provenances = st.builds(
    Provenance,
    native_system=st.just("riscv64-linux"),
    build_system=st.just("x86_64-linux"),
    source=texts,
    date=st.sampled_from(["", "2026-01-02T03:04:05Z"]),
    roots=st.lists(st.tuples(paths(".drv"), paths(".drv")), max_size=2).map(tuple),
)
toolchains = st.builds(
    Toolchain,
    paths(".drv"),
    paths(".drv"),
    names,
    st.none() | paths(),
    st.none() | paths(),
    st.lists(inputs, max_size=2).map(tuple),
    texts,
)
tables = st.builds(
    lambda rows, provenance, chains, left: Table.of(
        rows, provenance=provenance, toolchains=tuple(chains), unpaired=left
    ),
    entry_lists,
    provenances,
    st.lists(toolchains, max_size=2),
    st.lists(st.builds(Unpaired, paths(".drv"), st.booleans(), texts), max_size=3),
)
