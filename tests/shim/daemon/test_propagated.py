"""Reading `nix-support` of realised libraries."""

from pathlib import Path

from protocol.store.path import STORE_DIR, StorePath
from shim.daemon.plants.propagated import brought_along


def path(letter: str, name: str) -> StorePath:
    return StorePath(f"{STORE_DIR}/{letter * 32}-{name}")


LIBRARY, INNER, TOOL, HOOK, BELOW, COMPILER = (
    path(letter, name)
    for letter, name in zip(
        "abcdfg", ("library-dev", "inner-dev", "tool", "hook", "below", "compiler"), strict=True
    )
)


def write(root: Path, output: StorePath, **files: str) -> None:
    folder = root / output.lstrip("/") / "nix-support"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", "-")).write_text(text)


def test_tools_are_found_through_libraries_and_tools(tmp_path: Path) -> None:
    write(
        tmp_path,
        LIBRARY,
        propagated_build_inputs=f" {INNER}\n",
        propagated_native_build_inputs=f"{TOOL} {HOOK}\n",
    )
    write(tmp_path, INNER, propagated_build_inputs=LIBRARY, propagated_build_build_deps=COMPILER)
    write(tmp_path, HOOK, propagated_build_inputs=BELOW, propagated_native_build_inputs=LIBRARY)
    write(tmp_path, BELOW, propagated_build_inputs=HOOK)
    assert brought_along(tmp_path, [LIBRARY], STORE_DIR) == {
        TOOL: "nativeBuildInputs",
        HOOK: "nativeBuildInputs",
        COMPILER: "depsBuildBuild",
        BELOW: "nativeBuildInputs",
    }


def test_libraries_without_such_files_bring_nothing(tmp_path: Path) -> None:
    write(tmp_path, LIBRARY)
    (tmp_path / INNER.lstrip("/")).write_text("a file")
    assert not brought_along(tmp_path, [LIBRARY, INNER, TOOL], STORE_DIR)


def test_odd_files_are_passed_over(tmp_path: Path) -> None:
    odd = f"-L/nowhere {STORE_DIR} {TOOL}/bin\n\x00 {TOOL}"
    write(tmp_path, LIBRARY, propagated_native_build_inputs=odd)
    folder = tmp_path / LIBRARY.lstrip("/") / "nix-support" / "propagated-build-inputs"
    folder.mkdir()
    assert brought_along(tmp_path, [LIBRARY], STORE_DIR) == {TOOL: "nativeBuildInputs"}
