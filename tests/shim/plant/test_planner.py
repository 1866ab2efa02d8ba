"""What is kept, replaced, grafted or refused, on package sets as small as the question."""

import json
from dataclasses import replace

import pytest

from protocol.store import aterm
from protocol.store.content_address import Method
from protocol.store.derivation import Floating, InputOutputs
from protocol.store.hash import HashAlgorithm
from protocol.store.path import StorePath
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.plant.plan import Decline, Graft, Kind, Plan
from shim.plant.planner import Planner
from tests.shim.plant.sets import BUILD, TRIPLE, Sets, sets

HOOK = "cp hook.sh $out/nix-support/setup-hook"


@pytest.fixture
def made() -> Sets:
    return sets()


def graft_of(plan: Plan, name: str) -> Graft:
    (found,) = [graft for graft in plan.grafts if graft.path.name == f"{name}.drv"]
    return found


def kinds(result: Decline) -> list[Kind]:
    return [refusal.kind for refusal in result.refusals]


# Slots


def test_a_library_is_replaced_and_a_tool_stays(made: Sets) -> None:
    made.tool("bison")
    made.both("app", buildInputs="@zlib.dev@", nativeBuildInputs="@tools.bison@")
    plan = made.planted("app")
    assert plan.derivation.env["buildInputs"] == made.native.attributes["zlib"]["dev"]
    assert plan.derivation.env["nativeBuildInputs"] == made.tools.attributes["bison"]
    assert plan.derivation.platform == BUILD
    assert made.tools.attributes["bison"].drv in plan.prerequisites


def test_literal_paths_go_by_their_machine(made: Sets) -> None:
    made.both("app", postInstall="sed s,@tools.bash@/bin/sh,@bash@/bin/sh, app")
    script = made.planted("app").derivation.env["postInstall"]
    native, tool = made.native.attributes["bash"], made.tools.attributes["bash"]
    assert script == f"sed s,{tool}/bin/sh,{native}/bin/sh, app"


def test_one_package_in_two_roles_gets_one_path_for_each(made: Sets) -> None:
    made.both("app", buildInputs="@bash@", nativeBuildInputs="@tools.bash@")
    env = made.planted("app").derivation.env
    assert env["buildInputs"] == made.native.attributes["bash"]
    assert env["nativeBuildInputs"] == made.tools.attributes["bash"]


def test_a_package_of_the_target_in_a_build_slot_stays_there_with_native_libraries(
    made: Sets,
) -> None:
    made.both("tcl", buildInputs="@zlib.dev@")
    made.both("app", nativeBuildInputs="@tcl@", tclConfig="@tcl@/lib")
    plan = made.planted("app")
    graft = graft_of(plan, f"tcl-{TRIPLE}-1").derivation
    assert plan.derivation.env["nativeBuildInputs"] == graft.output_paths()["out"]
    assert plan.derivation.env["tclConfig"] == f"{made.native.attributes['tcl']}/lib"
    assert graft.env["buildInputs"] == made.native.attributes["zlib"]["dev"]
    assert [note for note in plan.notes if "tcl" in note and "compiled again" in note]


def test_structured_attributes_are_walked(made: Sets) -> None:
    for side, tools in ((made.native, made.native), (made.cross, made.tools)):
        zlib, bash, shell = (
            side.attributes["zlib"],
            side.attributes["bash"],
            tools.attributes["bash"],
        )
        attributes = {
            "name": "app",
            "outputs": ["out"],
            "stdenv": side.stdenv,
            "configureFlags": side.flags.split(),
            "buildInputs": [zlib["dev"]],
            "nativeBuildInputs": [shell],
            "settings": {"deep": [1, True, None, {"shell": f"{bash}/bin/sh"}]},
            "exportReferencesGraph": {"closure": [bash]},
            "env": {"NIX_CFLAGS_COMPILE": f"-I{zlib['dev']}/include"},
            "outputChecks": {"out": {"disallowedReferences": [zlib["dev"]], "maxSize": 1}},
        }
        env = {"__json": json.dumps(attributes, separators=(",", ":")), "out": ""}
        name = "app-1" if side is made.native else f"app-{TRIPLE}-1"
        side.attributes["app"] = made.world.add(
            name, side.platform, env, builder=f"{side.shell}/bin/bash"
        )
    plan = made.planted("app")
    found = plan.derivation.structured()
    assert found is not None
    zlib, bash = made.native.attributes["zlib"], made.native.attributes["bash"]
    assert found["buildInputs"] == [zlib["dev"]]
    assert found["nativeBuildInputs"] == [made.tools.attributes["bash"]]
    assert found["settings"] == {"deep": [1, True, None, {"shell": f"{bash}/bin/sh"}]}
    assert found["exportReferencesGraph"] == {"closure": [bash]}
    assert found["env"] == {"NIX_CFLAGS_COMPILE": f"-I{zlib['dev']}/include"}
    assert found["outputChecks"] == {"out": {"disallowedReferences": [zlib["dev"]], "maxSize": 1}}
    assert found["name"] == "app-1"
    assert plan.derivation.env["out"] == made.native.attributes["app"]


def test_json_in_strings_and_files_from_variables_are_rewritten(made: Sets) -> None:
    made.both(
        "app",
        pkgs='[{"paths":["@zlib@","@bash@"],"priority":5}]',
        text="shell=@bash@/bin/sh",
        passAsFile="text",
        exportReferencesGraph="closure @bash@",
    )
    env = made.planted("app").derivation.env
    zlib, bash = made.native.attributes["zlib"], made.native.attributes["bash"]
    assert json.loads(env["pkgs"]) == [{"paths": [zlib, bash], "priority": 5}]
    assert env["text"] == f"shell={bash}/bin/sh"
    assert env["exportReferencesGraph"] == f"closure {bash}"


# Grafts


def test_a_hook_is_kept_grafted_or_both_by_what_it_embeds(made: Sets) -> None:
    made.both("only-tools", src=False, buildCommand=HOOK, interpreter="@tools.bash@/bin/sh")
    made.both("only-target", src=False, buildCommand=HOOK, interpreter="@bash@/bin/sh")
    made.both("mixed", src=False, buildCommand=HOOK, interpreter="@bash@", python="@tools.bash@")
    # Without a compiler in their environment, as nixpkgs makes its hooks.
    made.both("app", nativeBuildInputs="@only-tools@ @only-target@ @mixed@")
    plan = made.planted("app")
    native, tool = made.native.attributes["bash"], made.tools.attributes["bash"]
    assert graft_of(plan, "only-target-1").derivation.env["interpreter"] == f"{native}/bin/sh"
    mixed = graft_of(plan, "mixed-1").derivation
    assert (mixed.env["interpreter"], mixed.env["python"]) == (native, tool)
    slots = plan.derivation.env["nativeBuildInputs"].split()
    assert slots[2] == mixed.output_paths()["out"]
    assert not {*slots} & {*made.native.attributes.values()}


def test_a_hook_of_the_build_machine_is_kept_when_it_reaches_nothing(made: Sets) -> None:
    made.tool("hook", src="", buildCommand=HOOK, interpreter="@bash@/bin/sh")
    made.both("app", nativeBuildInputs="@tools.hook@")
    plan = made.planted("app")
    assert plan.derivation.env["nativeBuildInputs"] == made.tools.attributes["hook"]
    assert plan.prerequisites[made.tools.attributes["hook"].drv] == {"out"}


def test_the_compiler_is_kept_and_its_wrapper_names_native_libraries(made: Sets) -> None:
    made.both("app")
    plan = made.planted("app")
    compiler = made.cross.attributes["compiler"]
    assert [*plan.opaque] == [compiler.drv]
    wrapper = graft_of(plan, f"{TRIPLE}-gcc-wrapper-14.2").derivation
    native = made.native.attributes
    assert wrapper.env["cc"] == compiler
    assert wrapper.env["libc_lib"] == native["glibc"]
    # The folder named after the target exists only in a cross compiler.
    assert f"-L{native['compiler']['lib']}/lib " in wrapper.env["postFixup"]
    linker = graft_of(plan, f"{TRIPLE}-binutils-wrapper-2.44").derivation
    assert f"{native['glibc']}/lib/ld.so" in linker.env["postFixup"]
    assert plan.headers == ((native["glibc"]["dev"], made.cross.attributes["glibc"]["dev"]),)
    assert {*made.cross.attributes["glibc"].outputs.values()} <= plan.forbidden


def test_header_folders_of_the_kept_compiler_go_by_their_native_names(made: Sets) -> None:
    made.both("app")
    script = graft_of(made.planted("app"), f"{TRIPLE}-gcc-wrapper-14.2").derivation.env["postFixup"]
    native = made.native.attributes
    assert f'"-ffile-prefix-map=$cc={native["compiler"]}"' in script
    assert f"{native['glibc']['dev']}/include" in script
    # Naming the cross libc's folder here would make the graft refer to it.
    assert made.cross.attributes["glibc"]["dev"] not in script
    linker = graft_of(made.planted("app"), f"{TRIPLE}-binutils-wrapper-2.44").derivation
    assert "-ffile-prefix-map" not in linker.env["postFixup"]


def test_an_output_that_only_the_cross_side_has_is_compiled_for_whoever_needs_it(
    made: Sets,
) -> None:
    perl = made.world.fixed("perl.tar.gz")
    made.native.make("perl", src=perl)
    made.cross.make("perl", outputs="out mini", src=perl)
    for side, output in ((made.native, "out"), (made.cross, "mini")):
        side.make("app", nativeBuildInputs=side.attributes["perl"][output], src=perl)
    plan = made.planted("app", "perl")
    graft = graft_of(plan, f"perl-{TRIPLE}-1")
    assert graft.outputs == {"mini"}
    assert plan.derivation.env["nativeBuildInputs"] == graft.derivation.output_paths()["mini"]
    assert [note for note in plan.notes if "compiled again" in note]


def test_packages_share_grafts(made: Sets) -> None:
    made.both("one")
    made.both("two")
    planner = Planner(made.table("one", "two"), made.world.derivations())
    plans = [planner.plan(made.native.attributes[name].drv) for name in ("one", "two")]
    first, second = [[g.path for g in plan.grafts] for plan in plans if isinstance(plan, Plan)]
    assert first == second


# Outputs and names


def test_outputs_only_the_cross_side_has_get_paths_of_their_own(made: Sets) -> None:
    source = made.world.fixed("perl.tar.gz")
    made.native.make("perl", outputs="out man", src=source)
    made.cross.make("perl", outputs="out man mini", src=source)
    plan = made.planted("perl")
    assert plan.outputs == made.native.attributes["perl"].outputs
    assert plan.dropped.keys() == {"mini"}
    assert plan.dropped["mini"].name == "perl-1-mini"
    assert plan.derivation.env["mini"] == plan.dropped["mini"]
    assert plan.derivation.env["out"] == plan.outputs["out"]
    assert plan.derivation.env["name"] == "perl-1"


def test_different_plants_never_share_a_made_up_path(made: Sets) -> None:
    made.both("app")
    one = made.planted("app")
    other = sets()
    other.both("app", buildInputs="@zlib@")
    assert one.drv_path != other.planted("app").drv_path
    assert one.drv_path.name == "app-1.drv"


# Guarding lists


def test_what_is_forbidden_stays_forbidden_under_every_name(made: Sets) -> None:
    made.both("app", disallowedReferences="@wrapper@ @zlib.dev@ out")
    plan = made.planted("app")
    native = made.native.attributes
    grafted = graft_of(plan, f"{TRIPLE}-gcc-wrapper-14.2").derivation.output_paths()["out"]
    found = plan.derivation.env["disallowedReferences"].split()
    assert {*found} >= {grafted, native["zlib"]["dev"], native["wrapper"], "out"}
    # Forbidding a path does not make it an input.
    assert str(native["wrapper"]) not in {*map(str, plan.derivation.input_sources)}


def test_what_is_allowed_is_what_the_native_recipe_allows(made: Sets) -> None:
    made.both("app", allowedReferences="@zlib@ out", allowedRequisites="")
    env = made.planted("app").derivation.env
    assert env["allowedReferences"] == f"{made.native.attributes['zlib']} out"
    assert env["allowedRequisites"] == ""


def test_a_list_that_only_names_a_path_needs_nothing_of_it(made: Sets) -> None:
    made.both("app", disallowedRequisites="@zlib@")
    plan = made.planted("app")
    assert made.native.attributes["zlib"] in plan.derivation.env["disallowedRequisites"]
    assert str(made.native.attributes["zlib"]) not in {*map(str, plan.native_inputs)}


def test_a_graft_may_reach_whatever_the_native_libc_reaches(made: Sets) -> None:
    made.both(
        "hook", src=False, buildCommand=HOOK, interpreter="@bash@", allowedRequisites="@bash@"
    )
    made.both("app", nativeBuildInputs="@hook@")
    assert "allowedRequisites" not in graft_of(made.planted("app"), "hook-1").derivation.env


# What native inputs bring along


def test_tools_that_a_native_library_propagates_are_put_in_front_for_this_machine(
    made: Sets,
) -> None:
    made.tool("generator")
    made.tool("bison")
    made.both("inner", outputs="out dev", propagatedNativeBuildInputs="@tools.generator@")
    made.both("outer", outputs="out dev", propagatedBuildInputs="@inner.dev@")
    made.both("app", buildInputs="@outer.dev@", nativeBuildInputs="@tools.bison@")
    made.both("careless", buildInputs="@outer.out@", nativeBuildInputs="@tools.bison@")
    generator, bison = (made.tools.attributes[name] for name in ("generator", "bison"))
    plan = made.planted("app")
    assert plan.derivation.env["nativeBuildInputs"] == f"{generator} {bison}"
    assert generator.drv in plan.prerequisites
    # Only the output that holds what is propagated brings it.
    assert made.planted("careless").derivation.env["nativeBuildInputs"] == bison


def test_each_tool_that_is_brought_along_takes_its_own_slot(made: Sets) -> None:
    for tool in ("compiler-here", "compiler-there", "generator"):
        made.tool(tool)
    made.both(
        "library",
        outputs="out dev",
        depsBuildBuildPropagated="@tools.compiler-here@",
        depsBuildTargetPropagated="@tools.compiler-there@",
        propagatedNativeBuildInputs="@tools.generator@",
    )
    made.both("app", buildInputs="@library.dev@")
    env = made.planted("app").derivation.env
    tools = made.tools.attributes
    assert env["depsBuildBuild"] == tools["compiler-here"]
    assert env["depsBuildTarget"] == tools["compiler-there"]
    assert env["nativeBuildInputs"] == tools["generator"]


def test_what_a_package_propagates_runs_here_and_is_recorded_natively(made: Sets) -> None:
    made.tool("generator")
    made.both("library", outputs="out dev", propagatedNativeBuildInputs="@tools.generator@")
    plan = made.planted("library")
    here, there = (StorePath(side.attributes["generator"]) for side in (made.tools, made.native))
    assert plan.derivation.env["propagatedNativeBuildInputs"] == here
    assert plan.exchange.recorded == {here: there}
    assert there in plan.native_inputs & plan.derivation.input_sources
    assert there not in plan.outside
    ((script, text),) = plan.texts.items()
    assert plan.derivation.env["depsBuildBuild"] == script
    assert script in plan.sources & plan.derivation.input_sources
    assert f'"{here} {there}"' in text


def test_a_tool_that_files_of_a_native_library_name_is_supplied(made: Sets) -> None:
    made.tool("generator")
    made.both("library", outputs="out dev", postInstall="echo @tools.generator@ > $dev/x")
    made.both("app", buildInputs="@library.dev@", depsBuildBuild="@tools.bash@")
    table = made.table("app")
    planner = Planner(table, made.world.derivations())
    app = made.native.attributes["app"].drv
    here, there = (StorePath(side.attributes["generator"]) for side in (made.tools, made.native))
    before = planner.plan(app)
    assert isinstance(before, Plan)
    assert before.libraries == {made.native.attributes["library"]["dev"]}
    assert "nativeBuildInputs" not in before.derivation.env
    plan = planner.plan(app, {there: "nativeBuildInputs"})
    assert isinstance(plan, Plan)
    assert plan.derivation.env["nativeBuildInputs"] == here
    assert made.tools.attributes["generator"].drv in plan.prerequisites
    assert plan.exchange.aside == (there,)
    # The native one stays out of its way: it is an input, but not of any slot.
    assert there in plan.native_inputs
    (script,) = plan.texts
    assert plan.derivation.env["depsBuildBuild"] == f"{script} {made.tools.attributes['bash']}"
    assert plan.drv_path != before.drv_path
    assert planner.plan(app) == before


def test_a_tool_without_another_form_is_noted(made: Sets) -> None:
    made.both("app", buildInputs="@zlib.dev@")
    lonely = made.native.make("lonely", src=made.world.fixed("lonely.tar.gz"))
    planner = Planner(made.table("app"), made.world.derivations())
    plan = planner.plan(made.native.attributes["app"].drv, {StorePath(lonely): "nativeBuildInputs"})
    assert isinstance(plan, Plan)
    assert not plan.exchange
    assert [note for note in plan.notes if "lonely-1" in note and "no other form" in note]


# Choice among several native forms


def test_the_native_form_among_the_inputs_is_taken(made: Sets) -> None:
    source = made.world.fixed("lua.tar.gz")
    cross = made.cross.make("lua", src=source)
    stage = made.native.make("lua", src=source, stage="bootstrap")
    made.native.make("early", lua=stage, src=source)
    made.cross.make("early", lua=cross, src=source)
    final = made.native.make("lua", src=source, stage="final")
    made.native.make("late", buildInputs=final, src=source)
    made.cross.make("late", buildInputs=cross, src=source)
    early, late = made.planted("early", "late"), made.planted("late", "early")
    assert early.derivation.env["lua"] == stage
    assert late.derivation.env["buildInputs"] == final
    assert not early.outside | late.outside


def test_a_native_form_from_elsewhere_is_reported(made: Sets) -> None:
    made.both("elsewhere", buildInputs="@zlib@")
    source = made.world.fixed("app.tar.gz")
    made.native.make("app", src=source)
    made.cross.make("app", src=source, postPatch=f"use {made.cross.attributes['zlib']}")
    plan = made.planted("app", "elsewhere")
    zlib = made.native.attributes["zlib"]
    assert plan.derivation.env["postPatch"] == f"use {zlib}"
    assert [*plan.outside] == [zlib["out"]]


# Refusals


def test_a_dependency_without_native_form_is_named(made: Sets) -> None:
    source = made.world.fixed("extra.tar.gz")
    extra = made.cross.make("extra", src=source)
    made.native.make("app", src=source)
    made.cross.make("app", src=source, buildInputs=extra)
    refused = made.declined("app")
    assert kinds(refused) == [Kind.NO_COUNTERPART]
    assert f"extra-{TRIPLE}-1" in refused.reasons[0]
    assert "buildInputs" in refused.reasons[0]


def test_an_output_that_only_the_native_side_has_is_refused(made: Sets) -> None:
    source = made.world.fixed("app.tar.gz")
    made.native.make("app", outputs="out man", src=source)
    made.cross.make("app", outputs="out", src=source)
    refused = made.declined("app")
    assert kinds(refused) == [Kind.OUTPUT_MISSING]
    assert "`man`" in refused.reasons[0]


def test_what_its_content_fixes_is_not_planted(made: Sets) -> None:
    made.both("app")
    fixed = made.world.fixed("data.tar.gz", "riscv64-linux")
    floating = made.world.add(
        "floating", "riscv64-linux", {}, kinds={"out": Floating(Method.NAR, HashAlgorithm.SHA256)}
    )
    planner = Planner(made.table("app"), made.world.derivations())
    for drv in (fixed.drv, floating.drv):
        refused = planner.plan(drv)
        assert isinstance(refused, Decline)
        assert kinds(refused) == [Kind.FIXED]


def test_what_the_table_does_not_know_is_refused(made: Sets) -> None:
    made.both("app")
    made.both("other")
    planner = Planner(made.table("app"), made.world.derivations())
    refused = planner.plan(made.native.attributes["other"].drv)
    assert isinstance(refused, Decline)
    assert kinds(refused) == [Kind.NO_ENTRY]


def test_several_counterparts_are_a_conflict(made: Sets) -> None:
    made.both("app")
    made.both("rival", buildInputs="@zlib@")
    table, rival = made.table("app"), made.table("rival")
    native = made.native.attributes["app"].drv
    (one,) = [entry for entry in table if entry.native == native]
    (other,) = [e for e in rival if e.native == made.native.attributes["rival"].drv]
    other.__dict__.update(native=one.native, native_outputs=one.native_outputs)
    both = Table.of([one, other], provenance=table.provenance, toolchains=table.toolchains)
    refused = Planner(both, made.world.derivations()).plan(native)
    assert isinstance(refused, Decline)
    assert kinds(refused) == [Kind.CONFLICT]


def test_a_counterpart_that_runs_where_the_native_one_runs_is_refused(made: Sets) -> None:
    made.both("app")
    table = made.table("app")
    native = made.native.attributes["app"].drv
    entry = table.host_entry(native)
    assert entry is not None
    entry.__dict__.update(cross=native, cross_outputs=entry.native_outputs)
    refused = Planner(table, made.world.derivations()).plan(native)
    assert isinstance(refused, Decline)
    assert kinds(refused) == [Kind.SAME_PLATFORM]


def test_a_missing_derivation_is_named(made: Sets) -> None:
    made.both("app", buildInputs="@zlib@")
    table = made.table("app")
    del made.world.all[made.cross.attributes["wrapper"].drv]
    refused = Planner(table, made.world.derivations()).plan(made.native.attributes["app"].drv)
    assert isinstance(refused, Decline)
    assert kinds(refused) == [Kind.UNKNOWN]
    assert "gcc-wrapper" in refused.reasons[0]


def test_a_hash_part_that_stands_alone_is_refused(made: Sets) -> None:
    digests = {side.platform: side.attributes["zlib"].split("/")[3][:32] for side in (made.cross,)}
    source = made.world.fixed("app.tar.gz")
    zlib = made.native.attributes["zlib"]
    made.native.make("app", src=source, buildInputs=zlib)
    made.cross.make(
        "app", src=source, buildInputs=made.cross.attributes["zlib"], seed=digests[BUILD]
    )
    refused = made.declined("app")
    assert kinds(refused) == [Kind.LEAK]
    assert "`seed`" in refused.reasons[0]


def test_a_build_outside_the_sandbox_is_refused(made: Sets) -> None:
    made.both("app", __noChroot="1")
    assert kinds(made.declined("app")) == [Kind.UNSUPPORTED]


def test_forged_circles_of_derivations_end_in_a_refusal(made: Sets) -> None:
    made.tool("one", src="", buildCommand=HOOK)
    made.tool("two", src="", buildCommand=HOOK, hook="@one@")
    made.both("app", nativeBuildInputs="@tools.two@")
    table = made.table("app")
    one, two = (made.tools.attributes[name].drv for name in ("one", "two"))
    wanted = InputOutputs(frozenset({"out"}))
    inputs = {**made.world.all[one].input_derivations, two: wanted}
    forged = {**made.world.all, one: replace(made.world.all[one], input_derivations=inputs)}
    texts = {path: aterm.unparse(derivation) for path, derivation in forged.items()}
    refused = Planner(table, Derivations(texts.get)).plan(made.native.attributes["app"].drv)
    assert isinstance(refused, Decline)
    assert kinds(refused) == [Kind.UNKNOWN]
    assert "its content belongs to another path" in refused.reasons[0]
