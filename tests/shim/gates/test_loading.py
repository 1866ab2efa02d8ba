import dataclasses
from pathlib import Path

import pytest

from tests.support.elf import ElfSpec, SectionSpec
from tests.support.planted import BASH, CROSS_GLIBC, GLIBC, LOADER, OUT, Planted, rules

PROGRAM = ElfSpec(interpreter=LOADER, needed=["libc.so.6"], runpath=f"{GLIBC}/lib")
TRIPLE = "aarch64-unknown-linux-gnu"


def judged(planted: Planted, path: str = "bin/x", **changes: object) -> list[str]:
    data = dataclasses.replace(PROGRAM, **changes).build()  # type: ignore[arg-type]
    planted.add(path, data)
    return rules(planted.judge())


@pytest.mark.parametrize(
    ("interpreter", "found"),
    [
        (LOADER, []),
        (f"{GLIBC}/lib/ld-linux-armhf.so.3", ["loading.interpreter"]),
        ("/lib/ld-linux-aarch64.so.1", ["loading.interpreter"]),
        (f"{OUT}/../{GLIBC.base}/lib/ld-linux-aarch64.so.1", []),
    ],
)
def test_the_interpreter_must_exist(planted: Planted, interpreter: str, found: list[str]) -> None:
    assert judged(planted, interpreter=interpreter) == found


def test_the_interpreter_must_be_for_the_target(planted: Planted) -> None:
    planted.add("lib/ld.so", ElfSpec(machine=62).build(), path=GLIBC)
    assert judged(planted, interpreter=f"{GLIBC}/lib/ld.so") == ["loading.interpreter"]


def test_a_library_that_nobody_provides_is_found(planted: Planted) -> None:
    planted.add("bin/x", dataclasses.replace(PROGRAM, needed=["libz.so.1"]).build())
    (found,) = planted.judge().findings
    assert found.rule == "loading.needed"
    assert "`libz.so.1`" in found.message
    assert f"`{GLIBC}/lib`" in found.message


def test_a_library_for_another_machine_does_not_count(planted: Planted) -> None:
    planted.add("lib/libz.so.1", ElfSpec(machine=62).build(), path=GLIBC)
    assert judged(planted, needed=["libz.so.1"]) == ["loading.needed"]


@pytest.mark.parametrize("origin", ["$ORIGIN", "${ORIGIN}"])
def test_origin_is_the_folder_of_the_file(planted: Planted, origin: str) -> None:
    planted.add("lib/libx.so.1", ElfSpec(soname="libx.so.1").build())
    assert judged(planted, needed=["libx.so.1"], runpath=f"{origin}/../lib") == []


def test_rpath_counts_only_without_runpath(planted: Planted) -> None:
    planted.add("priv/liby.so", ElfSpec(soname="liby.so").build(), path=BASH)
    folder = f"{BASH}/priv"
    assert judged(planted, needed=["liby.so"], runpath=None, rpath=folder) == []
    assert judged(planted, "bin/y", needed=["liby.so"], rpath=folder) == ["loading.needed"]


def test_a_folder_of_the_package_itself_may_be_missing_under_any_name(planted: Planted) -> None:
    folder = f"{OUT}/lib/aarch64-linux-gnu"
    assert judged(planted, runpath=f"{folder}:{GLIBC}/lib") == ["loading.runpath-missing"]
    assert judged(planted, runpath=f"{GLIBC}/aarch64-linux-gnu:{GLIBC}/lib") == [
        "loading.runpath-cross"
    ]


def test_the_loader_s_own_folder_is_searched_last(planted: Planted) -> None:
    assert judged(planted, runpath=None) == []


def test_links_are_followed_by_logical_names(planted: Planted) -> None:
    planted.add("lib/libreal.so.1.2", ElfSpec(soname="libreal.so.1").build(), path=BASH)
    planted.add("lib/libreal.so.1", "libreal.so.1.2", path=BASH)
    planted.add("lib64", f"{BASH}/lib")
    assert judged(planted, needed=["libreal.so.1"], runpath=f"{OUT}/lib64") == []


def test_files_in_the_serving_store_count(planted: Planted, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    (tmp_path / GLIBC.lstrip("/")).rename(tmp_path / "moved")
    (serving / "nix/store").mkdir(parents=True)
    (tmp_path / "moved").rename(serving / GLIBC.lstrip("/"))
    assert rules(planted.judge()) == ["loading.interpreter"]
    assert planted.judge(closure_roots=(serving,)).findings == ()


def test_a_plug_in_may_rely_on_its_program(planted: Planted) -> None:
    planted.add("lib/server/libcore.so", ElfSpec(soname="libcore.so").build())
    found = judged(planted, "lib/libplug.so", interpreter=None, needed=["libcore.so"])
    assert found == ["loading.needed-later"]


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ([("libc.so.6", "GLIBC_2.34", False)], []),
        ([("libc.so.6", "GLIBC_2.99", False)], ["loading.version"]),
        ([("libc.so.6", "GLIBC_2.99", True)], ["loading.version-weak"]),
    ],
)
def test_symbol_versions_must_be_defined(
    planted: Planted, needs: list[tuple[str, str, bool]], found: list[str]
) -> None:
    assert judged(planted, needs=needs) == found


def test_a_library_without_versions_is_a_warning(planted: Planted) -> None:
    planted.add("lib/libz.so.1", ElfSpec(soname="libz.so.1").build(), path=GLIBC)
    needs = [("libz.so.1", "ZLIB_1.2", False)]
    assert judged(planted, needed=["libz.so.1"], needs=needs) == ["loading.unversioned"]


@pytest.mark.parametrize(
    ("runpath", "found"),
    [
        (f"{GLIBC}/{TRIPLE}/lib:{GLIBC}/lib", ["loading.runpath-cross"]),
        (f"{GLIBC}/lib64:{GLIBC}/lib", ["loading.runpath-missing"]),
        (f"/build/demo/.libs:{GLIBC}/lib", ["loading.runpath-build"]),
        (f"/usr/lib:{GLIBC}/lib", ["loading.runpath-outside"]),
        (f"lib:{GLIBC}/lib", ["loading.runpath-outside"]),
    ],
)
def test_search_paths_are_judged_one_by_one(
    planted: Planted, runpath: str, found: list[str]
) -> None:
    verdict = judged(planted, runpath=runpath)
    assert [rule for rule in verdict if rule.startswith("loading")] == found


def test_the_cross_side_s_search_path_is_found(planted: Planted) -> None:
    found = judged(planted, runpath=f"{CROSS_GLIBC}/lib:{GLIBC}/lib")
    assert found == ["loading.runpath-cross", "references.forbidden"]


def test_what_is_left_for_a_debugger_is_not_loaded(planted: Planted) -> None:
    text = SectionSpec(".text", b"x", 8, 6)
    spec = dataclasses.replace(PROGRAM, needed=["libnone.so"], sections=[text], code=False)
    planted.add("lib/debug/x.debug", spec.build(), executable=False)
    assert planted.judge().findings == ()
