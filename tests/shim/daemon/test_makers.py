"""Who else makes a fixed output, as tables of real package sets know it."""

from dataclasses import replace
from pathlib import Path

from protocol.store.path import StorePath
from shim.daemon.tables import Tables
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.plan.fixed import counterparts
from shim.systems import SYSTEMS
from tests.shim.plant.corpus import corpus

HERE = "x86_64-linux"


def tables(*rows: Table, derivations: Derivations | None = None) -> Tables:
    return Tables(rows or [corpus().table], derivations or corpus().derivations, "1", SYSTEMS)


def below() -> set[StorePath]:
    """The native derivations below every package of the corpus."""
    fringe = {StorePath(each["native"]) for each in corpus().truth["pairs"].values()}
    seen: set[StorePath] = set()
    while fringe:
        drv = fringe.pop()
        seen.add(drv)
        fringe |= corpus().derivations[drv].input_derivations.keys() - seen
    return seen


def foreign_sources() -> list[StorePath]:
    """The outputs that the hashes of foreign derivations fix."""
    each = (corpus().derivations[drv] for drv in below())
    return sorted(
        path
        for derivation in each
        if derivation.is_fixed and derivation.platform == "aarch64-linux"
        for path in derivation.output_paths().values()
    )


def test_most_sources_of_a_real_package_set_have_a_counterpart() -> None:
    known, sources = tables(), foreign_sources()
    found = {path: counterparts(known.makers(path), [path], HERE, tabled=True) for path in sources}
    assert len(sources) == 286
    assert sum(map(bool, found.values())) == 245
    for path, made in found.items():
        for each in made:
            derivation = corpus().derivations[each.derivation]
            assert derivation.platform in {HERE, "builtin"}
            assert {derivation.output_paths()[name] for name in each.outputs} == {path}


def test_a_package_has_no_other_maker() -> None:
    (path, *_) = corpus().plan("zlib").outputs.values()
    assert tables().makers(path) == {}


def test_one_whose_file_is_gone_is_no_maker(tmp_path: Path) -> None:
    native = corpus().derivations[corpus().native("c-fod-url")]
    path = native.output_paths()["out"]
    assert tables().makers(path) != {}
    assert tables(derivations=Derivations.open(tmp_path)).makers(path) == {}


def test_each_is_named_once_in_the_order_of_the_tables() -> None:
    path = corpus().derivations[corpus().native("c-fod-url")].output_paths()["out"]
    (maker,) = tables().makers(path)
    (entry,) = (each for each in corpus().table.by_cross(path) if each.cross == maker)
    other = replace(entry, cross=corpus().native("c-fod-url"))
    assert list(tables(Table.of([other]), corpus().table).makers(path)) == [other.cross, maker]
    assert list(tables(corpus().table, Table.of([other])).makers(path)) == [maker, other.cross]
