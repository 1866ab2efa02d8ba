"""Which toolchains may stand in for one another."""

from dataclasses import replace

import pytest

from protocol.store.path import StorePath
from shim.equivalence.table import Table
from shim.plant.plan import Decline, Graft, Kind, Plan
from shim.plant.planner import Planner
from tests.shim.plant.sets import TRIPLE, Sets, Versions, sets


def test_equal_toolchains_are_admitted() -> None:
    made = sets()
    made.both("app")
    made.planted("app")


@pytest.mark.parametrize(
    ("cross", "complaint"),
    [
        (Versions(gcc="13.3"), "compiler version: native `14.2`, cross `13.3`"),
        (Versions(libc="2.40"), "libc version: native `2.41`, cross `2.40`"),
        (
            Versions(march="-march=rv64gc -mabi=lp64"),
            "compiler wrapper: native `-march=rv64gc`, cross `-mabi=lp64 -march=rv64gc`",
        ),
        (Versions(march="-march=rv64g"), "cross `-march=rv64g`"),
        (Versions(hardening="pic"), "hardening flags of the compiler wrapper"),
        (
            Versions(configured="--enable-default-ssp"),
            "configured instruction set and ABI: native ``, cross `--enable-default-ssp`",
        ),
        (
            Versions(configured="--with-float=soft"),
            "configured instruction set and ABI: native ``, cross `--with-float=soft`",
        ),
    ],
)
def test_others_are_refused_with_every_difference(cross: Versions, complaint: str) -> None:
    made = sets(cross=cross)
    made.both("app")
    refused = made.declined("app")
    assert [each.kind for each in refused.refusals] == [Kind.TOOLCHAIN]
    assert complaint in refused.reasons[0]


def test_several_differences_are_told_at_once() -> None:
    made = sets(cross=Versions(gcc="13.3", libc="2.40"))
    made.both("app")
    (reason,) = made.declined("app").reasons
    assert "compiler version" in reason
    assert "libc version" in reason


def test_a_table_without_the_pair_of_environments_is_refused() -> None:
    made = sets()
    made.both("app")
    table = made.table("app")
    bare = Table.of(table, provenance=table.provenance)
    refused = Planner(bare, made.world.derivations()).plan(made.native.attributes["app"].drv)
    assert isinstance(refused, Decline)
    assert [each.kind for each in refused.refusals] == [Kind.TOOLCHAIN]
    assert "scan a root" in refused.reasons[0]


def test_what_has_no_compiler_needs_no_toolchain() -> None:
    made = sets()
    for side in (made.native, made.cross):
        side.stdenv = None
    made.both("text", src=False, buildCommand="echo @bash@ > $out")
    assert not made.planted("text").grafts
    assert not made.planted("text").headers


def test_a_source_cut_out_of_another_on_each_machine_is_known_by_both_parts() -> None:
    assert admitted(Versions(cut="gcc"), Versions(cut="gcc"))
    assert not admitted(Versions(cut="gcc"), Versions(cut="libgcc"))
    assert not admitted(Versions(cut="gcc"), Versions())


def admitted(native: Versions, cross: Versions) -> bool:
    made = sets(native, cross)
    made.both("app", buildInputs="@zlib.dev@")
    return isinstance(made.plan("app"), Plan)


def test_a_default_of_the_cross_compiler_alone_is_taken_back() -> None:
    made = sets(cross=Versions(configured="--enable-default-pie"))
    made.both("app")
    plan = made.planted("app")
    (wrapper,) = [each.derivation for each in plan.grafts if "gcc-wrapper" in each.path.name]
    # In front of the wrapper's own: the last of these options decides.
    assert '(-fno-pie -no-pie "${extraBefore[@]}")' in wrapper.env["postFixup"]
    assert [note for note in plan.notes if "-no-pie takes back --enable-default-pie" in note]


def test_a_default_that_both_have_stays_and_one_of_the_native_alone_is_refused() -> None:
    pie = Versions(configured="--enable-default-pie")
    made = sets(native=pie, cross=pie)
    made.both("app")
    assert not any("-no-pie" in text for g in made.planted("app").grafts for text in texts(g))
    assert not admitted(pie, Versions())


def texts(graft: Graft) -> list[str]:
    return list(graft.derivation.env.values())


def test_libraries_to_compare_are_those_that_programs_load() -> None:
    made = sets()
    made.both("app")
    plan = made.planted("app")
    native, cross = (side.attributes for side in (made.native, made.cross))
    assert set(plan.runtime) == {
        (native["glibc"], cross["glibc"]),
        (native["compiler"]["lib"], cross["compiler"]["lib"]),
    }


# A compiler beside the standard environment's


def fortran(native: str, cross: str) -> Sets:
    """Sets with a Fortran compiler of these versions, and a package that uses it."""
    made = sets()
    for side, version, prefix in ((made.native, native, ""), (made.cross, cross, f"{TRIPLE}-")):
        here = replace(made.tools, attributes={}) if prefix else side
        libc = side.attributes["glibc"]
        compiler = here.make(
            f"{prefix}gfortran",
            version,
            outputs="out lib",
            src=made.world.fixed(f"gcc-{version}.tar.xz"),
            configureFlags=f"--with-headers={libc['dev']} --target={prefix.removesuffix('-')}",
        )
        inner = f"/{TRIPLE}/lib" if prefix else "/lib"
        wrapper = here.make(
            f"{prefix}gfortran-wrapper",
            version,
            wrapperName="CC_WRAPPER",
            cc=compiler,
            libc_lib=libc,
            libc_dev=libc["dev"],
            default_hardening_flags_str="pic relro",
            postFixup=f"echo -L{compiler['lib']}{inner} > $out/nix-support/cc-ldflags",
        )
        side.attributes |= {"gfortran": compiler, "gfortran-wrapper": wrapper}
    made.both("app", nativeBuildInputs="@gfortran-wrapper@")
    return made


def test_its_library_is_the_native_one() -> None:
    made = fortran("14.2", "14.2")
    plan = made.planted("app")
    (wrapper,) = [each for each in plan.grafts if "gfortran-wrapper" in each.path.name]
    library = made.native.attributes["gfortran"]["lib"]
    assert f"-L{library}/lib " in wrapper.derivation.env["postFixup"]
    assert StorePath(library) in plan.native_inputs
    cross = made.cross.attributes["gfortran"]
    assert cross.drv in plan.opaque
    assert not [text for text in texts(wrapper) if cross["lib"] in text]


def test_it_must_be_as_admissible_as_the_standard_one() -> None:
    (refused,) = fortran("14.2", "13.3").declined("app").refusals
    assert refused.kind is Kind.TOOLCHAIN
    assert "gfortran-wrapper" in refused.detail
    assert "compiler version: native `14.2`, cross `13.3`" in refused.detail
