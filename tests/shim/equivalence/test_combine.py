from dataclasses import replace

import pytest
from hypothesis import given

from shim.equivalence import combine, file
from shim.equivalence.grades import Grade
from shim.equivalence.table import Provenance, Table, Unpaired
from shim.errors import ShimError
from tests.shim.equivalence.entries import tables
from tests.shim.equivalence.test_table import LIB, TOOL, path


@given(tables, tables)
def test_the_order_of_merged_tables_does_not_matter(one: Table, other: Table) -> None:
    assert file.dump(combine.merge([one, other])) == file.dump(combine.merge([other, one]))


@given(tables, tables, tables)
def test_merging_in_steps_is_merging_at_once(one: Table, two: Table, three: Table) -> None:
    merge = combine.merge
    at_once = merge([one, two, three])
    for steps in (merge([merge([one, two]), three]), merge([one, merge([three, two])])):
        assert file.dump(steps) == file.dump(at_once)


@given(tables)
def test_merging_a_table_with_itself_changes_no_entry(table: Table) -> None:
    assert list(combine.diff(table, combine.merge([table, table]))) == []


def test_contradictions_are_kept() -> None:
    other = replace(
        LIB,
        cross=path("a", "lib-x.drv"),
        cross_outputs={"out": path("b", "lib-x")},
        pairing={"out": "out"},
    )
    merged = combine.merge([Table.of([LIB]), Table.of([other])])
    assert list(merged.conflicts()) == [(LIB, other)]


def test_the_better_grade_of_one_pair_is_kept() -> None:
    verified = replace(LIB, grade=Grade.VERIFIED)
    for tables_in_turn in ([LIB], [verified]), ([verified], [LIB]):
        [entry] = combine.merge([Table.of(one) for one in tables_in_turn])
        assert entry.grade is Grade.VERIFIED


def test_what_another_table_paired_is_not_unpaired() -> None:
    lonely = Table.of([], unpaired=[Unpaired(LIB.native, native=True, reason="not met")])
    assert combine.merge([lonely, Table.of([LIB])]).unpaired == ()
    assert combine.merge([lonely, Table.of([])]).unpaired == tuple(lonely.unpaired)


def test_tables_of_different_systems_do_not_merge() -> None:
    one, other = (
        Table.of([], provenance=Provenance(native_system=system))
        for system in ("riscv64-linux", "aarch64-linux")
    )
    with pytest.raises(ShimError, match="different systems"):
        combine.merge([one, other])
    with pytest.raises(ShimError, match="no table"):
        combine.merge([])


def test_a_diff_names_what_came_went_and_changed() -> None:
    changed = replace(LIB, grade=Grade.VERIFIED)
    new = replace(LIB, native=path("d", "new.drv"))
    before, after = Table.of([LIB, TOOL]), Table.of([changed, new])
    assert [(one.kind, one.native, one.role) for one in combine.diff(before, after)] == [
        ("changed", LIB.native, LIB.role),
        ("removed", TOOL.native, TOOL.role),
        ("added", new.native, new.role),
    ]


def test_another_reason_is_no_change() -> None:
    assert list(combine.diff(Table.of([LIB]), Table.of([replace(LIB, reason="else")]))) == []
