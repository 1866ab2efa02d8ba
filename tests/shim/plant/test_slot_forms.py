"""One derivation for each form in which a recipe mentions a path, or says how it is to be built."""

import json

import pytest

from protocol.store.path import StorePath
from shim.plant.plan import Plan
from shim.plant.slots import BROUGHT, Slot, slot_of
from tests.shim.plant.sets import BUILD, TRIPLE, Sets, sets


@pytest.fixture
def made() -> Sets:
    return sets()


BUILD_SLOTS = ("depsBuildBuild", "nativeBuildInputs", "depsBuildTarget", *BROUGHT)
HOST_SLOTS = (
    "depsHostHost",
    "buildInputs",
    "depsTargetTarget",
    "depsHostHostPropagated",
    "propagatedBuildInputs",
    "depsTargetTargetPropagated",
)


@pytest.mark.parametrize("slot", BUILD_SLOTS)
def test_a_tool_in_a_build_slot_stays(made: Sets, slot: str) -> None:
    made.both("app", outputs="out", src=True, **{slot: "@tools.bash@"})
    plan = made.planted("app")
    tool = made.tools.attributes["bash"]
    assert plan.derivation.env[slot] == tool
    assert plan.prerequisites[tool.drv] == {"out"}


@pytest.mark.parametrize("slot", HOST_SLOTS)
def test_a_library_in_a_host_slot_becomes_the_native_one(made: Sets, slot: str) -> None:
    made.both("app", outputs="out", src=True, **{slot: "@zlib.dev@ @zlib.out@"})
    plan = made.planted("app")
    native = made.native.attributes["zlib"]
    assert plan.derivation.env[slot] == f"{native['dev']} {native['out']}"
    assert {native["dev"], native["out"]} <= {*map(str, plan.native_inputs)}


def test_the_builder_is_of_the_build_machine_and_the_environment_a_graft(made: Sets) -> None:
    made.both("app")
    plan = made.planted("app")
    assert plan.derivation.builder == f"{made.tools.shell}/bin/bash"
    (stdenv,) = [graft for graft in plan.grafts if graft.path.name == "stdenv-linux-.drv"]
    assert plan.derivation.env["stdenv"] == stdenv.derivation.output_paths()["out"]


def test_arguments_go_by_their_machine(made: Sets) -> None:
    for side, tools in ((made.native, made.native), (made.cross, made.tools)):
        tool, library = tools.attributes["bash"], side.attributes["zlib"]
        side.attributes["app"] = made.world.add(
            "app-1",
            side.platform,
            {"stdenv": str(side.stdenv), "configureFlags": side.flags},
            args=("-e", f"{tool}/x", f"--with={library}"),
        )
    plan = made.planted("app")
    native, tool = made.native.attributes["zlib"], made.tools.attributes["bash"]
    assert plan.derivation.args == ("-e", f"{tool}/x", f"--with={native}")


def test_the_outputs_of_one_package_have_different_fates(made: Sets) -> None:
    made.both("kit", outputs="out dev bin", buildInputs="@zlib.dev@")
    made.both("app", buildInputs="@kit.dev@", nativeBuildInputs="@kit.bin@", config="@kit.out@/etc")
    plan = made.planted("app")
    env, native = plan.derivation.env, made.native.attributes["kit"]
    (graft,) = [each for each in plan.grafts if each.path.name == f"kit-{TRIPLE}-1.drv"]
    assert env["buildInputs"] == native["dev"]
    assert env["config"] == f"{native['out']}/etc"
    assert env["nativeBuildInputs"] == graft.derivation.output_paths()["bin"]
    assert graft.outputs == {"bin"}


def test_json_within_json_within_a_text_is_rewritten(made: Sets) -> None:
    inner = json.dumps({"shell": "@bash@/bin/sh"})
    made.both("app", settings=json.dumps({"files": [inner], "@zlib@": 1}))
    found = json.loads(made.planted("app").derivation.env["settings"])
    bash, zlib = (made.native.attributes[name] for name in ("bash", "zlib"))
    assert found == {"files": [json.dumps({"shell": f"{bash}/bin/sh"})], zlib: 1}


def test_graphs_of_closures_are_those_of_native_paths(made: Sets) -> None:
    made.both("app", exportReferencesGraph="one @bash@ two @zlib.dev@")
    bash, zlib = (made.native.attributes[name] for name in ("bash", "zlib"))
    env = made.planted("app").derivation.env
    assert env["exportReferencesGraph"] == f"one {bash} two {zlib['dev']}"


SAYINGS = {
    "requiredSystemFeatures": "big-parallel kvm",
    "preferLocalBuild": "1",
    "allowSubstitutes": "",
    "impureEnvVars": "http_proxy https_proxy",
    "__darwinAllowLocalNetworking": "1",
    "__impureHostDeps": "/bin/sh /usr/lib/libSystem.dylib",
    "__propagatedImpureHostDeps": "",
    "__sandboxProfile": "(allow file-read*)",
}


@pytest.mark.parametrize("variable", SAYINGS)
def test_what_a_recipe_says_of_its_build_is_said_of_the_plant(made: Sets, variable: str) -> None:
    made.both("app", outputs="out", src=True, **{variable: SAYINGS[variable]})
    assert made.planted("app").derivation.env[variable] == SAYINGS[variable]


def test_it_is_said_in_structured_attributes_too(made: Sets) -> None:
    structured(made, requiredSystemFeatures=["big-parallel"], preferLocalBuild=True)
    attributes = made.planted("app").derivation.structured()
    assert attributes is not None
    assert attributes["requiredSystemFeatures"] == ["big-parallel"]
    assert attributes["preferLocalBuild"] is True


def test_tools_are_supplied_to_lists_of_structured_attributes(made: Sets) -> None:
    made.tool("generator")
    made.both("library", outputs="out dev", propagatedNativeBuildInputs="@tools.generator@")
    structured(made, "library", nativeBuildInputs=["@tools.bash@"])
    tools = made.tools.attributes
    plan = made.planted("app")
    attributes = plan.derivation.structured()
    assert attributes is not None
    assert attributes["nativeBuildInputs"] == [tools["generator"], tools["bash"]]


def structured(made: Sets, *libraries: str, **attributes: object) -> None:
    """The package `app` with structured attributes, in both sets."""
    for side, tools in ((made.native, made.native), (made.cross, made.tools)):
        every = {
            "name": "app",
            "stdenv": str(side.stdenv),
            "configureFlags": side.flags.split(),
            "buildInputs": [f"@{name}.dev@" for name in ("zlib", *libraries)],
            **attributes,
        }
        text = made.fill(json.dumps(every), side, tools)
        name = "app-1" if side is made.native else f"app-{TRIPLE}-1"
        side.attributes["app"] = made.world.add(
            name, side.platform, {"__json": text}, builder=f"{side.shell}/bin/bash"
        )


def test_every_plant_is_built_on_the_build_machine(made: Sets) -> None:
    made.both("app")
    plan = made.planted("app")
    assert isinstance(plan, Plan)
    assert plan.derivation.platform == BUILD
    assert slot_of("builder") is Slot.BUILD
    assert StorePath(made.native.attributes["app"]) in plan.outputs.values()
