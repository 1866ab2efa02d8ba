"""The pairing on small sets made for a test, and on graphs that somebody broke on purpose."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from protocol.store import aterm
from protocol.store.derivation import Derivation
from protocol.store.modulo import derivation_path
from protocol.store.path import StorePath
from shim.equivalence import walk
from shim.equivalence.align import align
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.errors import ShimError
from tests.shim.plant.sets import BUILD, NATIVE, TRIPLE, Made, Sets, Side, sets


def host_pairs(made: Sets, *names: str) -> dict[str, str]:
    return {
        entry.native.name: entry.cross.name
        for entry in made.table(*names)
        if entry.role is Role.HOST and entry.grade is not Grade.IDENTICAL
    }


def source(graph: Mapping[StorePath, Derivation]) -> Derivations:
    texts = {path: aterm.unparse(derivation) for path, derivation in graph.items()}
    return Derivations(texts.get)


def test_triples_come_from_the_graph() -> None:
    made = sets()
    made.both("app", buildInputs="@zlib.dev@")
    table = made.table("app")
    assert table.provenance.triple == TRIPLE
    assert (table.provenance.native_system, table.provenance.build_system) == (NATIVE, BUILD)
    assert host_pairs(made, "app") == {
        "app-1.drv": f"app-{TRIPLE}-1.drv",
        "zlib-1.drv": f"zlib-{TRIPLE}-1.drv",
    }


def test_a_second_libc_is_a_package_and_the_linked_one_is_not() -> None:
    made = sets()
    linked = made.cross.attributes["glibc"]
    made.cross.make(
        "glibc", "2.41", outputs="out dev bin", src=made.world.fixed("glibc-2.41.tar.xz")
    )
    made.both("app", buildInputs="@glibc.dev@", src=True)
    table = made.table("app")
    entries = {
        entry.role: entry for entry in table.by_derivation(made.native.attributes["glibc"].drv)
    }
    assert entries[Role.TOOLCHAIN].cross == linked.drv
    assert entries[Role.HOST].cross == made.cross.attributes["glibc"].drv
    assert list(table.conflicts()) == []


def test_a_list_that_lost_and_gained_items_is_still_aligned() -> None:
    made = sets()
    for name in ("one", "two", "three", "four"):
        made.both(name)
    made.tool("checker")
    for side, inputs in (
        (made.native, ("one", "two", "three", "four")),
        (made.cross, ("four", "one", "three")),
    ):
        paths = " ".join(side.attributes[name] for name in inputs)
        side.make("app", buildInputs=paths, src=made.world.fixed("app.tar.gz"))
    assert host_pairs(made, "app") == {
        "app-1.drv": f"app-{TRIPLE}-1.drv",
        "one-1.drv": f"one-{TRIPLE}-1.drv",
        "three-1.drv": f"three-{TRIPLE}-1.drv",
        # Not by the list, where it changed places, but because both graphs have one `four`.
        "four-1.drv": f"four-{TRIPLE}-1.drv",
    }


def test_different_names_at_one_place_of_a_list_are_no_pair() -> None:
    made = sets()
    made.both("left")
    made.both("right")
    for side, name in ((made.native, "left"), (made.cross, "right")):
        side.make("app", buildInputs=side.attributes[name], src=made.world.fixed("app.tar.gz"))
    assert set(host_pairs(made, "app")) == {"app-1.drv"}
    reasons = {one.path.name: one.reason for one in made.table("app").unpaired}
    assert reasons["left-1.drv"] == (
        "`buildInputs` of `app-1` mentions it, the other half of that pair does not"
    )


def test_different_names_in_equal_text_are_an_input_pair_that_is_not_followed() -> None:
    made = sets()
    made.both("left")
    made.both("right")
    for side, name in ((made.native, "left"), (made.cross, "right")):
        script = f"ln -s {side.attributes[name]}/lib thing"
        side.make("app", postPatch=script, src=made.world.fixed("app.tar.gz"))
    table = made.table("app")
    entry = table.host_entry(made.native.attributes["app"].drv)
    assert entry is not None
    [place] = [one for one in entry.inputs if one.slot == "postPatch"]
    assert place.native == str(made.native.attributes["left"])
    assert place.cross == str(made.cross.attributes["right"])
    assert table.host_entry(made.native.attributes["left"].drv) is None


@pytest.mark.parametrize(
    ("native", "cross", "expected"),
    [
        ("LD=$one/bin/ld dirs=$left/lib", "dirs=$right/lib", [("left", "right")]),
        ("LD=$one/bin/ld dirs=$left/lib", "dirs=$right/share", []),
        ("LD=$one/bin/ld dirs=$left/lib dirs=$one/lib", "dirs=$right/lib", []),
        ("LD=$one/bin/ld $left/lib", "$right/lib", []),
        ("LD=$one/bin/ld -Wl,-rpath,$left/lib", "-Wl,-rpath,$right/lib", []),
    ],
)
def test_the_one_value_of_an_assignment_is_an_input_pair_among_other_flags(
    native: str, cross: str, expected: list[tuple[str, str]]
) -> None:
    """As glibc's `user-defined-trusted-dirs` names libgcc, which the cross set has by itself."""
    made = sets()
    for name in ("one", "left", "right"):
        made.both(name)
    for side, flags in ((made.native, native), (made.cross, cross)):
        for name in ("one", "left", "right"):
            flags = flags.replace(f"${name}", str(side.attributes[name]))  # noqa: PLW2901 - a template
        side.make("app", makeFlags=flags, src=made.world.fixed("app.tar.gz"))
    entry = made.table("app").host_entry(made.native.attributes["app"].drv)
    assert entry is not None
    found = [(one.native, one.cross) for one in entry.inputs if one.slot == "makeFlags"]
    assert found == [
        (str(made.native.attributes[one]), str(made.cross.attributes[other]))
        for one, other in expected
    ]


def test_what_hangs_on_something_unpaired_says_on_what() -> None:
    made = sets()
    made.both("below")
    made.both("lost", buildInputs="@below@")
    for side, inputs in ((made.native, made.native.attributes["lost"]), (made.cross, "")):
        side.make("app", buildInputs=inputs, src=made.world.fixed("app.tar.gz"))
    reasons = {one.path.name: one.reason for one in made.table("app").unpaired}
    assert reasons["below-1.drv"] == "reached only through `lost-1`, which has no counterpart"


def test_a_build_tool_beside_a_library_of_the_same_package_are_two_roles() -> None:
    made = sets()
    made.tool("perl")
    perl = made.native.attributes["perl"]
    made.cross.make("perl", src=made.world.fixed("perl.tar.gz"))
    made.both("app", postPatch="sub --replace @tools.perl@/bin/perl @perl@/bin/perl")
    entries = {entry.role: entry.cross for entry in made.table("app").by_derivation(perl.drv)}
    assert entries == {
        Role.TOOL: made.tools.attributes["perl"].drv,
        Role.HOST: made.cross.attributes["perl"].drv,
    }


def test_a_static_set_is_cross_on_both_sides() -> None:
    musl = TRIPLE.replace("gnu", "musl")
    made = sets()
    for side in (made.native, made.cross):
        static = Side(
            made.world,
            side.platform,
            flags=f"--build={'x86_64' if side is made.cross else 'riscv64'}-unknown-linux-gnu "
            f"--host={musl}",
            suffix=musl,
            shell=side.shell,
            stdenv=side.stdenv,
        )
        inner = static.make("zlib", src=made.world.fixed("zlib.tar.gz"), outputs="out dev")
        side.attributes["static-zlib"] = inner
    made.both("app", inputs="@static-zlib.dev@ @zlib.dev@")
    pairs = host_pairs(made, "app")
    assert pairs[f"zlib-{musl}-1.drv"] == f"zlib-{musl}-1.drv"
    assert pairs["zlib-1.drv"] == f"zlib-{TRIPLE}-1.drv"
    assert list(made.table("app").conflicts()) == []


def test_a_native_musl_package_is_not_the_counterpart_of_a_glibc_one() -> None:
    musl = TRIPLE.replace("gnu", "musl")
    made = sets()
    static = replace(
        made.native, flags=f"--build=riscv64-unknown-linux-gnu --host={musl}", suffix=musl
    )
    made.native.attributes["zlib"] = static.make(
        "zlib", src=made.world.fixed("zlib.tar.gz"), outputs="out dev"
    )
    made.both("app", buildInputs="@zlib.dev@")
    assert set(host_pairs(made, "app")) == {"app-1.drv"}
    reasons = {one.path.name: one.reason for one in made.table("app").unpaired}
    assert f"built for `{musl}`, in the cross graph for `{TRIPLE}`" in reasons[f"zlib-{musl}-1.drv"]


def test_a_derivation_without_a_standard_environment_is_judged_by_its_inputs() -> None:
    made = sets()
    for side in (made.native, made.cross):
        zlib = side.attributes["zlib"]
        side.attributes["raw"] = made.world.add("raw-join", side.platform, {"of": zlib})
    made.both("app", buildInputs="@raw@")
    assert host_pairs(made, "app")["raw-join.drv"] == "raw-join.drv"


def test_a_configure_that_calls_the_build_machine_host_is_for_the_host() -> None:
    """As Mozilla's does; the flags for cmake, which nixpkgs adds to everything, decide."""
    made = sets()
    source_of = made.world.fixed("engine.tar.gz")
    made.native.make("engine", src=source_of)
    made.cross.make(
        "engine",
        src=source_of,
        configureFlags=f"--host=x86_64-unknown-linux-gnu --target={TRIPLE}",
        cmakeFlags="-DCMAKE_SYSTEM_PROCESSOR=riscv64 -DCMAKE_HOST_SYSTEM_PROCESSOR=x86_64",
    )
    made.both("app", buildInputs="@engine@")
    assert host_pairs(made, "app")["engine-1.drv"] == f"engine-{TRIPLE}-1.drv"


def test_conflicting_counterparts_are_kept_and_shown() -> None:
    made = sets()
    for name, flag in (("one", "--a"), ("two", "--b")):
        source_of = made.world.fixed("lib.tar.gz")
        made.cross.make("lib", src=source_of, configureFlags=f"{made.cross.flags} {flag}")
        made.cross.attributes[f"lib-{name}"] = made.cross.attributes["lib"]
        made.native.make("lib", src=source_of, configureFlags="--c")
        made.native.attributes[f"lib-{name}"] = made.native.attributes["lib"]
        made.both(name, buildInputs=f"@lib-{name}@")
    table = made.table("one", "two")
    [conflict] = table.conflicts()
    assert {entry.cross for entry in conflict} == {
        made.cross.attributes["lib-one"].drv,
        made.cross.attributes["lib-two"].drv,
    }
    assert table.host_entry(made.native.attributes["lib"].drv) is None
    assert "nearest of 2 candidates" in conflict[0].reason


def test_the_nearer_recipe_wins() -> None:
    made = sets()
    source_of = made.world.fixed("lib.tar.gz")
    made.native.make("lib", src=source_of)
    for name, env in (("far", {"buildInputs": made.cross.attributes["zlib"]}), ("near", {})):
        made.cross.make("lib", src=source_of, **env)
        for side in (made.native, made.cross):
            app = {"buildInputs": side.attributes["lib"], "src": made.world.fixed(f"{name}.tar")}
            side.make(name, **app)
    table = made.table("far", "near")
    entry = table.host_entry(made.native.attributes["lib"].drv)
    assert entry is not None
    assert entry.cross == made.cross.attributes["lib"].drv
    assert entry.difference_class is DifferenceClass.BENIGN
    reasons = [one.reason for one in table.unpaired if one.path.name == entry.cross.name]
    assert reasons == [f"`{entry.cross.base}` is nearer to the native `lib-1.drv`"]


def test_a_root_pair_of_different_names_is_only_declared() -> None:
    made = sets()
    made.both("left")
    made.both("right")
    roots = [(made.native.attributes["left"].drv, made.cross.attributes["right"].drv)]
    table = pair(made.world.derivations(), roots)
    entry = table.host_entry(roots[0][0])
    assert entry is not None
    assert entry.grade is Grade.DECLARED
    assert entry.difference_class is DifferenceClass.SEMANTIC


def test_roots_of_two_systems_are_refused() -> None:
    made = sets()
    roots = [*made.roots("zlib"), (made.tools.attributes["zlib"].drv, made.roots("zlib")[0][1])]
    with pytest.raises(ShimError, match="native roots of two systems"):
        pair(made.world.derivations(), roots)


def test_no_roots_are_refused() -> None:
    with pytest.raises(ShimError, match="no pair of roots"):
        pair(sets().world.derivations(), [])


# Broken graphs


def app() -> tuple[Sets, StorePath, StorePath]:
    made = sets()
    made.both("app", buildInputs="@zlib.dev@")
    [(native, cross)] = made.roots("app")
    return made, native, cross


def drv(made: Made) -> StorePath:
    return made.drv


def test_a_missing_input_is_listed_and_the_rest_is_paired() -> None:
    made, native, cross = app()
    gone = drv(made.native.attributes["zlib"])
    graph = {path: one for path, one in made.world.all.items() if path != gone}
    table = pair(source(graph), [(native, cross)])
    assert table.host_entry(native) is not None
    assert [(one.path, one.reason) for one in table.unpaired if one.path == gone] == [
        (gone, "cannot be read: no such file")
    ]


def test_a_missing_root_is_an_error_that_names_it() -> None:
    made, native, cross = app()
    graph = {path: one for path, one in made.world.all.items() if path != native}
    with pytest.raises(ShimError, match=native.base):
        pair(source(graph), [(native, cross)])


def test_garbage_instead_of_a_derivation_is_listed() -> None:
    made, native, cross = app()
    broken = drv(made.cross.attributes["zlib"])
    texts = {path: aterm.unparse(one) for path, one in made.world.all.items()}
    texts[broken] = b"Derive([\xff"
    table = pair(Derivations(texts.get), [(native, cross)])
    [listed] = [one for one in table.unpaired if one.path == broken]
    assert listed.reason.startswith("cannot be read: ")


def test_a_forged_cycle_is_listed_and_ends() -> None:
    made, native, cross = app()
    zlib = drv(made.native.attributes["zlib"])
    graph = dict(made.world.all)
    inputs = {**graph[zlib].input_derivations, native: graph[native].input_derivations[zlib]}
    graph[zlib] = replace(graph[zlib], input_derivations=dict(sorted(inputs.items())))
    table = pair(source(graph), [(native, cross)])
    assert table.host_entry(native) is not None
    assert [one.reason for one in table.unpaired if one.path == zlib] == [
        "cannot be read: its content belongs to another path"
    ]


def test_a_derivation_with_forged_outputs_is_paired_with_nothing() -> None:
    made, native, cross = app()
    zlib, victim = made.native.attributes["zlib"].drv, made.native.attributes["bash"]
    graph = dict(made.world.all)
    stolen = {**graph[zlib].outputs, "out": graph[victim.drv].outputs["out"]}
    forged = replace(graph[zlib], outputs=stolen, env={**graph[zlib].env, "out": victim})
    path = derivation_path(forged)
    graph[path] = forged
    inputs = {
        path if one == zlib else one: what for one, what in graph[native].input_derivations.items()
    }
    with_forged = replace(graph[native], input_derivations=dict(sorted(inputs.items())))
    app_path = derivation_path(with_forged)
    graph[app_path] = with_forged
    table = pair(source(graph), [(app_path, cross)])
    assert table.by_derivation(path) == ()
    [reason] = {one.reason for one in table.unpaired if one.path == path}
    assert victim in reason
    assert table.by_output(StorePath(victim)) == ()


def test_a_giant_variable_is_no_hindrance() -> None:
    made = sets()
    made.both("app", buildInputs="@zlib.dev@", postInstall="x /nix/store/" * 200_000)
    assert "zlib-1.drv" in host_pairs(made, "app")


@pytest.mark.parametrize(
    "structured", ["[" * 100_000 + "]" * 100_000, "{", "[1]", '{"a": "\\ud800"}']
)
def test_structured_attributes_of_any_kind_are_no_hindrance(structured: str) -> None:
    made = sets()
    made.both("app", buildInputs="@zlib.dev@", __json=structured)
    assert "app-1.drv" in host_pairs(made, "app")


@pytest.mark.parametrize(
    "env",
    [
        {"makeFlags": "-D" + "test" * 20_000},
        {"makeFlags": "_cv_" * 50_000},
        {"preConfigure": "export " + "_cv_" * 50_000},
        {"preConfigure": "export" + " " * 100_000},
        {"flags_" * 20_000 + "\nx": ""},
        {"_cv_" * 50_000 + "-": ""},
        {"configureFlags": "--host=" + "a" * 300_000},
    ],
    ids=lambda env: next(iter(env))[:12],
)
def test_texts_made_to_be_matched_in_vain_are_no_hindrance(env: dict[str, str]) -> None:
    """Each would keep a pattern that is tried from every place busy for minutes or hours."""
    made = sets()
    for side, end in ((made.native, "!"), (made.cross, "?")):
        texts = {name: text + end for name, text in env.items()}
        side.make("app", src=made.world.fixed("app.tar.gz"), **texts)
    table = made.table("app")
    assert table.by_derivation(made.native.attributes["app"].drv)


def test_many_lists_in_other_orders_share_one_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing each long list alone is quick, many of them would not be."""
    spent = []

    def counted(*given: Any) -> Any:
        pairs, taken = align(*given)
        spent.append(taken)
        return pairs, taken

    monkeypatch.setattr(walk, "MAX_CELLS", 5_000)
    monkeypatch.setattr(walk, "align", counted)
    made = sets()
    for side, step in ((made.native, 7), (made.cross, 11)):
        texts = [
            made.world.add(f"text-{number}", side.platform, {"text": str(number)})
            for number in range(30)
        ]
        lists = {f"list{i}": " ".join(texts[j * step % 30] for j in range(30)) for i in range(20)}
        side.make("app", src=made.world.fixed("app.tar.gz"), **lists)
    assert made.table("app").host_entry(made.native.attributes["app"].drv)
    assert 0 < sum(spent) <= 5_000
    assert sum(spent) > 4_000


def test_a_deep_chain_is_no_hindrance() -> None:
    made = sets()
    for side in (made.native, made.cross):
        link = side.attributes["zlib"]
        for number in range(1500):
            link = made.world.add(f"link-{number}", side.platform, {"next": link})
        side.attributes["app"] = link
    assert len(host_pairs(made, "app")) > 1500
