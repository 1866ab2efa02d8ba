"""One rule at a time, on the recipe of a small package whose two halves differ in one thing."""

import pytest

from shim.equivalence.grades import DifferenceClass
from shim.equivalence.table import Difference
from tests.shim.plant.sets import TRIPLE, Sets, sets

NONE, BENIGN, NOTABLE, SEMANTIC = DifferenceClass


def differences(native: dict[str, str], cross: dict[str, str], made: Sets) -> list[Difference]:
    """What differs beyond platform and toolchain, which always do."""
    for side, env in ((made.native, native), (made.cross, cross)):
        filled = {name: made.fill(text, side, side) for name, text in env.items()}
        common = {"src": made.world.fixed("app.tar.gz"), "doCheck": ""}
        side.make("app", **common | filled)
    entry = made.table("app").host_entry(made.native.attributes["app"].drv)
    assert entry is not None
    return [one for one in entry.differences if one.rule != "platform"]


@pytest.mark.parametrize(
    ("variable", "native", "cross", "rule", "judged"),
    [
        ("strictDeps", "", "1", "strict dependencies", BENIGN),
        ("doInstallCheck", "1", "", "checks off", BENIGN),
        ("dontStrip", "", "1", "stripping", BENIGN),
        ("disallowedReferences", "", "x", "guard", BENIGN),
        ("enableParallelBuilding", "1", "", "build policy", BENIGN),
        ("makeFlags", "CC=gcc", f"CC={TRIPLE}-gcc", None, NONE),
        ("makeFlags", "", "CROSS_COMPILE=x-", "flags", SEMANTIC),
        ("makeFlags", "", f"CROSS_COMPILE={TRIPLE}-", "tool names", BENIGN),
        ("makeFlags", "CC=cc", f"CC={TRIPLE}-gcc", "tool names", BENIGN),
        ("makeFlags", "CC=cc FEATURE=1", "CC=cc", "flags", SEMANTIC),
        ("makeFlags", "A B", "B A", None, NONE),
        ("cmakeFlags", "", "-DCMAKE_SYSTEM_NAME=Linux", "platform", BENIGN),
        ("cmakeFlags", "-DBUILD_TESTS=ON", "-DBUILD_TESTS=OFF", "checks off", BENIGN),
        ("cmakeFlags", "-DWITH_ICU=ON", "-DWITH_ICU=OFF", "flags", SEMANTIC),
        ("mesonFlags", "", "ac_cv_x=yes", "preset configure answer", NOTABLE),
        ("ac_cv_func_x", "", "yes", "preset configure answer", NOTABLE),
        ("postInstall", "a\nb", "a", "script", SEMANTIC),
        ("postInstall", "a\n\n# note\n b", "a\nb", None, NONE),
        ("preConfigure", "", f"export CHOST={TRIPLE}", "tool names", BENIGN),
        ("preConfigure", "", "export ac_cv_malloc=yes", "preset configure answer", NOTABLE),
        ("configureScript", "./config", "./Configure generic", "script", SEMANTIC),
        (
            "patches",
            "",
            "/nix/store/00000000000000000000000000000000-p.patch",
            "sources and patches",
            SEMANTIC,
        ),
        ("SOME_VALUE", "1", "2", "value", NOTABLE),
        ("preInstallCheck", "a", "b", "check phase", BENIGN),
    ],
)
def test_a_rule(
    variable: str, native: str, cross: str, rule: str | None, judged: DifferenceClass
) -> None:
    found = differences({variable: native}, {variable: cross}, sets())
    assert [(one.rule, one.subject) for one in found if one.rule != "platform"] == (
        [(rule, variable)] if rule and rule != "platform" else []
    )
    assert max((one.difference_class for one in found), default=NONE) is (
        NONE if rule == "platform" else judged
    )


def test_another_version_is_semantic() -> None:
    found = differences({"version": "1"}, {"version": "2"}, sets())
    assert {(one.rule, one.subject, one.difference_class) for one in found} == {
        ("version", "name", SEMANTIC),
        ("version", "version", SEMANTIC),
    }


def test_a_dependency_that_is_gone_is_semantic() -> None:
    [found] = differences({"buildInputs": "@zlib.dev@"}, {"buildInputs": ""}, sets())
    assert (found.rule, found.native, found.difference_class) == (
        "dependencies",
        "zlib-1!dev",
        SEMANTIC,
    )


def test_paths_of_the_same_thing_for_another_platform_do_not_differ() -> None:
    env = {"buildInputs": "@zlib.dev@", "postInstall": "cp @zlib@/lib/libz.so $out"}
    assert differences(env, env, sets()) == []


def test_own_output_paths_do_not_differ() -> None:
    made = sets()
    found = differences({"installFlags": "a"}, {"installFlags": "a"}, made)
    assert found == []


def tooled() -> Sets:
    made = sets()
    made.tool("zic")
    made.cross.attributes["zic"] = made.tools.attributes["zic"]
    return made


def test_a_flag_that_names_a_build_tool_is_benign() -> None:
    [found] = differences({}, {"installFlags": "zic=@zic@/bin/zic"}, tooled())
    assert (found.rule, found.difference_class) == ("build tools", BENIGN)


def test_a_dropped_build_tool_is_notable_and_with_the_checks_benign() -> None:
    [found] = differences({"nativeBuildInputs": "@zic@"}, {}, tooled())
    assert (found.rule, found.difference_class) == ("build tools", NOTABLE)
    with_checks = differences({"nativeBuildInputs": "@zic@", "doCheck": "1"}, {}, tooled())
    assert {(one.rule, one.difference_class) for one in with_checks} == {
        ("test tools", BENIGN),
        ("checks off", BENIGN),
    }


def test_another_output_of_the_same_build_tool_does_not_differ() -> None:
    made = sets()
    for side in (made.native, made.tools):
        side.make("perl", outputs="out mini", src=made.world.fixed("perl.tar.gz"))
    made.cross.attributes["perl"] = made.tools.attributes["perl"]
    native, cross = {"nativeBuildInputs": "@perl@"}, {"nativeBuildInputs": "@perl.mini@"}
    assert differences(native, cross, made) == []


def test_a_script_that_only_uses_build_tools_more_is_notable() -> None:
    [found] = differences({}, {"preInstall": "sed s,install,@zic@/bin/zic, -i Makefile"}, tooled())
    assert (found.rule, found.difference_class) == ("build tools", NOTABLE)


def test_a_changed_line_is_shown_by_its_words() -> None:
    line = " ".join(f"word{number}" for number in range(100))
    [found] = differences({"buildPhase": f"{line} one"}, {"buildPhase": f"{line} two"}, sets())
    assert (found.native, found.cross) == ("one", "two")


def test_a_mark_in_a_text_cannot_hide_a_difference() -> None:
    found = differences({"makeFlags": "ab"}, {"makeFlags": "a\x01b"}, sets())
    assert [one.rule for one in found] == ["flags"]
