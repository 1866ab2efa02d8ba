"""The pairing on real native and cross graphs, against what attribute names say (`truth.json`)."""

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from protocol.store.path import StorePath
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.pairing import Root, pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Entry, Table
from tests.support.shared import shared

FOLDER = "corpus/aarch64-linux"
BENIGN, NOTABLE, SEMANTIC = (
    DifferenceClass.BENIGN,
    DifferenceClass.NOTABLE,
    DifferenceClass.SEMANTIC,
)


@cache
def derivations() -> Derivations:
    return Derivations.open(shared(f"{FOLDER}/drvs.tar.zst"))


@cache
def truth() -> dict[str, Any]:
    pairs = json.loads(shared(f"{FOLDER}/truth.json").read_text())["pairs"]
    assert isinstance(pairs, dict)
    return pairs


def roots(*attributes: str) -> list[Root]:
    chosen = attributes or tuple(truth())
    return [
        (StorePath(truth()[name]["native"]), StorePath(truth()[name]["cross"])) for name in chosen
    ]


@cache
def table(*attributes: str) -> Table:
    return pair(derivations(), roots(*attributes))


def outputs(path: StorePath) -> set[StorePath]:
    return set(derivations()[path].output_paths().values())


def wrong_pairs(made: Table) -> list[str]:
    return [
        f"{name}: {entry.native.base} -> {entry.cross.base}"
        for name, (native, cross) in zip(truth(), roots(), strict=True)
        for entry in made.by_derivation(native)
        if entry.role is Role.HOST and outputs(entry.cross) != outputs(cross)
    ]


def named(name: str, *, role: Role, made: Table | None = None) -> list[Entry]:
    """Entries whose native derivation has this name, sources left out."""
    return [
        entry
        for entry in made or table()
        if entry.native.name == f"{name}.drv"
        and entry.role is role
        and entry.grade is not Grade.IDENTICAL
    ]


def host(attribute: str) -> Entry:
    [(native, _)] = roots(attribute)
    entry = table().host_entry(native)
    assert entry is not None
    return entry


def closure(path: StorePath, seen: set[StorePath]) -> set[StorePath]:
    stack = [path]
    while stack:
        if (one := stack.pop()) not in seen:
            seen.add(one)
            stack += derivations()[one].input_derivations
    return seen


def flags(path: StorePath) -> str:
    env = derivations()[path].env
    return " ".join(env.get(name, "") for name in ("configureFlags", "cmakeFlags", "__json"))


def is_for_host(path: StorePath) -> bool:
    """Read from flags, apart from the code under test."""
    said = flags(path)
    return not derivations()[path].is_fixed and (
        "--host=aarch64-unknown-linux-gnu" in said or "CMAKE_SYSTEM_PROCESSOR=aarch64" in said
    )


def test_no_pair_from_all_roots_is_wrong() -> None:
    assert wrong_pairs(table()) == []


def test_no_pair_from_one_root_is_wrong() -> None:
    assert [wrong for attribute in truth() for wrong in wrong_pairs(table(attribute))] == []


def test_every_root_is_paired_with_its_counterpart() -> None:
    for native, cross in roots():
        entry = table().host_entry(native)
        assert entry is not None
        assert entry.cross == cross


def test_nearly_every_host_derivation_has_one_counterpart() -> None:
    crosses: set[StorePath] = set()
    for _, cross in roots():
        closure(cross, crosses)
    for_host = {path for path in crosses if is_for_host(path)}
    paired = {entry.cross for entry in table() if entry.role is not Role.TOOL}
    left = for_host - paired
    # The first of two libcs of a cross compiler's bootstrap: the native one has no such stage.
    assert [path.name for path in left] == ["glibc-nolibgcc-aarch64-unknown-linux-gnu-2.39-5.drv"]
    assert left <= {one.path for one in table().unpaired}
    per_role = Counter((entry.native, entry.role) for entry in table())
    several = {native for (native, role), count in per_role.items() if count > 1}
    assert {path.name for path in several} == {"gcc-13.2.0.drv", "xgcc-13.2.0.drv"}
    assert list(table().conflicts()) == []


def test_single_roots_find_nearly_all_host_derivations() -> None:
    partners = {entry.cross for entry in table() if entry.role is Role.HOST}
    wanted = found = 0
    for attribute, (_, cross) in zip(truth(), roots(), strict=True):
        reachable = {
            path for path in closure(cross, set()) if is_for_host(path) and path in partners
        }
        met = {entry.cross for entry in table(attribute) if entry.role is not Role.TOOL}
        wanted += len(reachable)
        found += len(reachable & met)
    assert wanted > 300
    assert found / wanted >= 0.97


def test_every_native_derivation_is_paired_or_listed_with_a_reason() -> None:
    natives: set[StorePath] = set()
    for native, _ in roots():
        closure(native, natives)
    paired = {entry.native for entry in table()}
    listed = {one.path: one.reason for one in table().unpaired if one.native}
    assert natives - paired == set(listed)
    assert all(listed.values())


def test_the_order_of_roots_does_not_matter() -> None:
    backwards = pair(derivations(), reversed(roots()))
    assert list(backwards) == list(table())
    assert list(backwards.unpaired) == list(table().unpaired)
    assert backwards.toolchains == table().toolchains


# The traps of the study, each on a real derivation


def test_the_linked_libc_belongs_to_the_toolchain() -> None:
    [libc] = named("glibc-2.39-5", role=Role.TOOLCHAIN)
    assert libc.cross.base == "bmwpix7702ch7y8ljjdyhpgap7985h0n-" + libc.cross.name
    assert named("glibc-2.39-5", role=Role.HOST) == []
    [tool] = named("glibc-2.39-5", role=Role.TOOL)
    assert tool.cross.name == "glibc-2.39-5.drv"


def test_gcc_is_split_by_output() -> None:
    entries = named("gcc-13.2.0", role=Role.TOOLCHAIN)
    assert {entry.cross.name: dict(entry.pairing) for entry in entries} == {
        "aarch64-unknown-linux-gnu-gcc-13.2.0.drv": {"lib": "lib"},
        "libgcc-aarch64-unknown-linux-gnu-13.2.0.drv": {"libgcc": "out"},
    }
    compiler = next(entry for entry in entries if "lib" in entry.pairing)
    library = compiler.cross_outputs["lib"]
    assert {entry.native_of(library) for entry in table().by_cross(library)} >= {
        compiler.native_outputs["lib"]
    }
    # The compiler itself runs on the build machine and never becomes the native one.
    assert table().native_output_for(compiler.cross_outputs["out"]) is None


def test_bootstrap_variants_map_to_one_cross_derivation() -> None:
    final = host("bash")
    tools = named("bash-5.2p26", role=Role.TOOL)
    assert len({entry.native for entry in tools}) > 2
    assert len({entry.cross for entry in tools}) == len(tools)
    assert [entry.native for entry in named("bash-5.2p26", role=Role.HOST)] == [final.native]
    stages = {entry.native: entry for entry in named("xgcc-13.2.0", role=Role.TOOLCHAIN)}
    assert len(stages) == 1


def test_a_tool_is_paired_with_the_same_bootstrap_stage() -> None:
    for entry in named("bash-5.2p26", role=Role.TOOL):
        native = StorePath(derivations()[entry.native].env["stdenv"])
        cross = StorePath(derivations()[entry.cross].env["stdenv"])
        assert native.name == cross.name


def test_one_native_derivation_plays_two_roles() -> None:
    [(native, cross)] = roots("python3")
    entries = {entry.role: entry for entry in table().by_derivation(native)}
    assert entries[Role.HOST].cross == cross
    assert derivations()[entries[Role.TOOL].cross].platform == "x86_64-linux"
    assert not is_for_host(entries[Role.TOOL].cross)


def test_equal_outputs_under_several_derivations_have_one_counterpart() -> None:
    makers: dict[StorePath, set[StorePath]] = {}
    for entry in table():
        if entry.grade is Grade.IDENTICAL:
            makers.setdefault(entry.native_outputs["out"], set()).add(entry.native)
    several = {output: paths for output, paths in makers.items() if len(paths) > 1}
    assert any(output.name == "bash52-025" for output in several)
    for output in several:
        source = table().host_entry(output)
        assert source is not None
        assert source.cross_of(output) == output


def test_a_source_is_identical_whatever_fetches_it() -> None:
    entry = host("c-fod-url")
    assert (entry.grade, entry.difference_class) == (Grade.IDENTICAL, DifferenceClass.NONE)
    assert entry.native_outputs == entry.cross_outputs


def test_an_output_that_only_cross_has_is_paired_with_none() -> None:
    entry = host("perl")
    assert "mini" in entry.cross_outputs
    assert "mini" not in entry.pairing.values()
    assert table().native_output_for(entry.cross_outputs["mini"]) is None


def test_a_triple_in_mid_name_may_be_a_tool() -> None:
    [(_, cross)] = roots("curl")
    [wrapper] = [
        entry
        for entry in named("pkg-config-wrapper-0.29.2", role=Role.TOOLCHAIN)
        if entry.cross.name.startswith("aarch64-unknown-linux-gnu-")
    ]
    assert wrapper.cross in derivations()[cross].input_derivations
    assert not is_for_host(wrapper.cross)
    requests = host("python311Packages.requests")
    assert requests.cross.name == "python3.11-requests-2.31.0-aarch64-unknown-linux-gnu.drv"


def test_a_hook_spliced_into_a_build_slot_keeps_its_host_flags() -> None:
    hooks = {entry.role: entry for entry in table() if entry.native.name == "pypa-install-hook.drv"}
    assert is_for_host(hooks[Role.HOST].cross)
    assert not is_for_host(hooks[Role.TOOL].cross)
    slots = {
        one.slot
        for entry in table()
        for one in entry.inputs
        if one.native in hooks[Role.HOST].native_outputs.values() and one.role is Role.HOST
    }
    assert slots == {"nativeBuildInputs"}


def test_structured_attributes_are_walked_like_others() -> None:
    entry = host("c-structured")
    slots = {one.slot for one in entry.inputs}
    assert {"buildInputs", "nativeBuildInputs", "stdenv", "configureFlags"} <= slots
    assert entry.difference_class is BENIGN


def test_json_inside_a_variable_is_walked() -> None:
    entry = host("c-buildEnv")
    assert {one.role for one in entry.inputs if one.slot == "pkgs"} == {Role.HOST}


@pytest.mark.parametrize(
    ("attribute", "judged", "rule"),
    [
        ("boost", SEMANTIC, "dependencies"),
        ("git", SEMANTIC, "dependencies"),
        ("openssl", SEMANTIC, "script"),
        ("zstd", SEMANTIC, "script"),
        ("perl", SEMANTIC, "outputs"),
        ("busybox", SEMANTIC, "sources and patches"),
        ("coreutils", NOTABLE, "value"),
        ("bash", NOTABLE, "preset configure answer"),
        ("tzdata", BENIGN, "build tools"),
        ("zlib", BENIGN, "tool names"),
        ("xz", BENIGN, "checks off"),
        ("python311Packages.requests", BENIGN, "test tools"),
    ],
)
def test_differences_are_classed_as_the_study_found_them(
    attribute: str, judged: DifferenceClass, rule: str
) -> None:
    entry = host(attribute)
    assert entry.difference_class is judged
    assert rule in {one.rule for one in entry.differences if one.difference_class is judged}


def test_the_libc_without_its_idn_library_is_another_libc() -> None:
    [libc] = named("glibc-2.39-5", role=Role.TOOLCHAIN)
    assert libc.difference_class is SEMANTIC
    assert any("idn2" in one.native for one in libc.differences)


def test_toolchains_name_what_compiled_code_needs() -> None:
    [row] = [
        one
        for one in table().toolchains
        if one.native.name == "stdenv-linux.drv" and one.native_compiler is not None
    ]
    assert row.triple == "aarch64-unknown-linux-gnu"
    libraries = {one.slot: (one.native.name, one.cross.name) for one in row.libraries}
    assert libraries == {
        "libc_bin": ("glibc-2.39-5-bin", "glibc-aarch64-unknown-linux-gnu-2.39-5-bin"),
        "libc_dev": ("glibc-2.39-5-dev", "glibc-aarch64-unknown-linux-gnu-2.39-5-dev"),
        "libc_lib": ("glibc-2.39-5", "glibc-aarch64-unknown-linux-gnu-2.39-5"),
        "cc.lib": ("gcc-13.2.0-lib", "aarch64-unknown-linux-gnu-gcc-13.2.0-lib"),
        "cc.libgcc": ("gcc-13.2.0-libgcc", "libgcc-aarch64-unknown-linux-gnu-13.2.0"),
    }
