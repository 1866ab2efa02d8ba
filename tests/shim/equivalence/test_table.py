from dataclasses import replace

import pytest

from protocol.store.path import StorePath
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.table import Entry, Table


def path(letter: str, name: str) -> StorePath:
    return StorePath(f"/nix/store/{letter * 32}-{name}")


LIB = Entry(
    native=path("1", "lib.drv"),
    cross=path("2", "lib-x.drv"),
    native_outputs={"out": path("3", "lib"), "dev": path("4", "lib-dev")},
    cross_outputs={"out": path("5", "lib-x"), "dev": path("6", "lib-x-dev")},
    role=Role.HOST,
    difference_class=DifferenceClass.BENIGN,
    grade=Grade.CHECKED,
    reason="",
    pairing={"out": "out", "dev": "dev"},
    inputs=(),
    differences=(),
)
TOOL = replace(
    LIB,
    cross=path("7", "lib.drv"),
    cross_outputs={"out": path("8", "lib")},
    role=Role.TOOL,
    pairing={"out": "out"},
)


def test_both_roles_are_found_by_derivation_and_by_output_the_host_first() -> None:
    table = Table.of([TOOL, LIB])
    assert table.by_derivation(LIB.native) == (LIB, TOOL)
    assert table.by_output(LIB.native_outputs["dev"]) == (LIB, TOOL)
    assert table.by_native(LIB.native_outputs["dev"]) == (LIB, TOOL)
    assert table.by_derivation(LIB.native_outputs["out"]) == ()
    assert table.by_output(LIB.cross_outputs["out"]) == ()


def test_the_native_side_of_a_cross_output() -> None:
    table = Table.of([LIB, TOOL])
    assert table.native_output_for(LIB.cross_outputs["dev"]) == LIB.native_outputs["dev"]
    assert table.native_output_for(TOOL.cross_outputs["out"]) is None
    assert table.by_cross(LIB.cross) == (LIB,)


def test_the_tool_for_a_native_one() -> None:
    table = Table.of([LIB, TOOL])
    assert table.tool_for(LIB.native_outputs["out"]) == TOOL.cross_outputs["out"]
    assert table.tool_for(LIB.native_outputs["dev"]) is None


def test_equal_outputs_of_two_derivations_are_no_conflict() -> None:
    other = replace(LIB, native=path("9", "lib.drv"), cross=path("a", "lib-x.drv"))
    table = Table.of([LIB, other])
    assert table.host_entry(LIB.native_outputs["out"]) == LIB
    assert list(table.conflicts()) == []


@pytest.mark.parametrize("role", [Role.HOST, Role.TOOL])
def test_two_counterparts_in_one_role_are_a_conflict(role: Role) -> None:
    one = replace(LIB, role=role)
    other = replace(
        one,
        cross=path("a", "lib-x.drv"),
        cross_outputs={"out": path("b", "lib-x")},
        pairing={"out": "out"},
    )
    table = Table.of([one, other])
    assert list(table.conflicts()) == [(one, other)]
    assert table.host_entry(LIB.native) is None
    assert table.tool_for(LIB.native_outputs["out"]) is None


def test_a_compiler_split_by_output_is_no_conflict() -> None:
    one = replace(LIB, role=Role.TOOLCHAIN, pairing={"dev": "dev"})
    other = replace(
        one,
        cross=path("a", "rt.drv"),
        cross_outputs={"out": path("b", "rt")},
        pairing={"out": "out"},
    )
    table = Table.of([one, other])
    assert list(table.conflicts()) == []
    assert table.native_output_for(path("b", "rt")) == LIB.native_outputs["out"]


def test_grades_and_classes_are_ordered_by_trust_and_by_harm() -> None:
    assert Grade.DECLARED < Grade.CHECKED < Grade.VERIFIED < Grade.IDENTICAL
    assert list(DifferenceClass) == sorted(DifferenceClass)
    assert max(DifferenceClass) is DifferenceClass.SEMANTIC
