"""What builders of other languages are made of: hooks, wrappers and compilers, each as it is."""

import pytest

from shim.plant.plan import Graft, Plan
from tests.shim.plant.sets import TRIPLE, Sets, sets

HOOK = "substituteAll hook.sh $out/nix-support/setup-hook"


@pytest.fixture
def made() -> Sets:
    return sets()


def graft_of(plan: Plan, name: str) -> Graft:
    (found,) = [graft for graft in plan.grafts if graft.path.name == f"{name}.drv"]
    return found


def test_a_hook_that_names_the_cross_compiler_gets_the_grafted_wrapper(made: Sets) -> None:
    # Cargo's: `CC_RISCV64...=@ccForHost@`, beside the build machine's compiler.
    made.both("cargo-hook", src=False, buildCommand=HOOK, ccForHost="@wrapper@/bin/cc")
    made.both("app", nativeBuildInputs="@cargo-hook@")
    plan = made.planted("app")
    wrapper = graft_of(plan, f"{TRIPLE}-gcc-wrapper-14.2").derivation.output_paths()["out"]
    hook = graft_of(plan, "cargo-hook-1").derivation
    assert hook.env["ccForHost"] == f"{wrapper}/bin/cc"
    assert plan.derivation.env["nativeBuildInputs"] == hook.output_paths()["out"]


def test_a_compiler_of_another_language_is_kept_with_the_target_s_library_in_it(made: Sets) -> None:
    source = made.world.fixed("rustc.tar.gz")
    made.native.make("rustc", src=source, std=made.native.attributes["zlib"])
    rustc = made.tools.make("rustc", src=source, std=made.cross.attributes["zlib"])
    for side, tools in ((made.native, made.native), (made.cross, made.tools)):
        side.make("app", src=source, nativeBuildInputs=tools.attributes["rustc"])
    plan = made.planted("app")
    assert plan.derivation.env["nativeBuildInputs"] == rustc
    assert rustc.drv in plan.opaque
    assert made.cross.attributes["zlib"]["out"] in {*map(str, plan.forbidden)}


def test_settings_for_the_target_stay_as_the_cross_recipe_has_them(made: Sets) -> None:
    # Go and Rust are told of the target by variables, CMake and Meson by flags and files.
    settings = {"GOARCH": "riscv64", "CARGO_BUILD_TARGET": "riscv64gc-unknown-linux-gnu"}
    flags = f"--cross-file=/nix/store/{'3' * 32}-cross-file.conf"
    source = made.world.fixed("app.tar.gz")
    made.native.make("app", src=source, GOARCH="riscv64")
    cross = made.cross.make("app", src=source, mesonFlags=flags, **settings)
    env = made.planted("app").derivation.env
    assert {name: env[name] for name in settings} == settings
    assert env["mesonFlags"] == flags
    assert cross not in env.values()


def test_a_cross_file_is_a_source_of_the_plan(made: Sets) -> None:
    source = f"/nix/store/{'3' * 32}-cross-file.conf"
    for side, sources in ((made.native, ()), (made.cross, (source,))):
        env = {"stdenv": str(side.stdenv), "configureFlags": side.flags, "mesonFlags": source}
        side.attributes["app"] = made.world.add("app-1", side.platform, env, sources=sources)
    plan = made.planted("app")
    assert source in {*map(str, plan.sources)}
    assert source in {*map(str, plan.derivation.input_sources)}


def test_a_wrapper_of_a_tool_that_names_no_target_path_stays(made: Sets) -> None:
    # pkg-config's is called after the target and embeds nothing of it.
    made.native.make("pkg-config-wrapper", buildCommand=HOOK)
    wrapper = made.tools.make(f"{TRIPLE}-pkg-config-wrapper", buildCommand=HOOK)
    source = made.world.fixed("app.tar.gz")
    made.native.make(
        "app", src=source, nativeBuildInputs=made.native.attributes["pkg-config-wrapper"]
    )
    made.cross.make("app", src=source, nativeBuildInputs=wrapper)
    plan = made.planted("app")
    assert plan.derivation.env["nativeBuildInputs"] == wrapper
    assert wrapper.drv in plan.prerequisites


def test_a_hook_with_a_compiled_wrapper_takes_the_grafted_compiler(made: Sets) -> None:
    # makeBinaryWrapper compiles a small program with the target's compiler, by its path.
    made.tool("binary-wrapper-hook", src="", buildCommand=HOOK, cc="@wrapper@")
    hook = made.tools.make(
        "binary-wrapper-hook", buildCommand=HOOK, cc=made.cross.attributes["wrapper"]
    )
    source = made.world.fixed("app.tar.gz")
    made.native.make("app", src=source, tools=made.native.attributes["binary-wrapper-hook"])
    made.cross.make("app", src=source, tools=hook)
    plan = made.planted("app")
    wrapper = graft_of(plan, f"{TRIPLE}-gcc-wrapper-14.2").derivation.output_paths()["out"]
    assert graft_of(plan, "binary-wrapper-hook-1").derivation.env["cc"] == wrapper


def test_an_environment_of_packages_links_to_native_ones(made: Sets) -> None:
    # python.withPackages and buildEnv: the interpreter as a path, the packages as JSON.
    made.both("python", buildInputs="@zlib.dev@")
    made.both("requests", propagatedBuildInputs="@python@")
    made.both(
        "python-env",
        src=False,
        buildCommand="makeWrapper @python@/bin/python $out/bin/python",
        pkgs='[{"paths":["@requests@","@python@"],"priority":5}]',
    )
    plan = made.planted("python-env")
    native = made.native.attributes
    assert f"{native['python']}/bin/python" in plan.derivation.env["buildCommand"]
    assert f'"paths":["{native["requests"]}","{native["python"]}"]' in plan.derivation.env["pkgs"]
    assert {native["python"]["out"], native["requests"]["out"]} <= {*map(str, plan.native_inputs)}
