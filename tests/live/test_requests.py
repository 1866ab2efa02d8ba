"""Build requests of peers: we make what is foreign, and Nix's semantics hold for all of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derived_path import ALL_OUTPUTS, Built, DerivedPath, Opaque
from protocol.store.modulo import HashModulo
from protocol.store.realisation import DrvOutput, Realisation
from protocol.version import Number
from protocol.worker.messages import (
    BuildDerivation,
    BuildMode,
    BuildPaths,
    BuildPathsWithResults,
    EnsurePath,
    IsValidPath,
    QueryMissing,
    SetOptions,
)
from protocol.worker.versions import NEWEST
from tests.live import talking, world
from tests.live.talking import Refused, Sayings, Talker
from tests.live.world import Shim


@pytest.fixture(scope="module")
def sayings(tmp_path_factory: pytest.TempPathFactory) -> Sayings:
    return talking.make(tmp_path_factory.mktemp("sayings"))


@pytest.fixture(scope="module")
def shim(sayings: Sayings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    running = Shim(tmp_path_factory.mktemp("requests"), cross=False)
    sayings.put(running.serving_root)
    with running:
        yield running


@pytest.fixture
def talker(shim: Shim) -> Iterator[Talker]:
    with Talker(shim) as talker:
        yield talker


@pytest.fixture(autouse=True)
def forgotten(shim: Shim, sayings: Sayings) -> None:
    """Nothing is built when a test begins."""
    store = f"local?root={shim.serving_root}"
    for name in ("upper", "image", "plain", "pair", "other", "here"):
        for path in sayings.derivation(name).output_paths().values():
            if shim.serves(path):
                world.run(["nix-store", "--store", store, "--delete", path])


def of(sayings: Sayings, name: str, *outputs: str) -> DerivedPath:
    return Built(sayings.drvs[name], frozenset(outputs) or ALL_OUTPUTS)


def results(talker: Talker, *paths: DerivedPath) -> list[BuildResult]:
    answer = talker.ask(BuildPathsWithResults(paths))
    assert [path for path, _ in answer] == list(paths)
    return [result for _, result in answer]


def test_a_mixed_request_is_answered_whole(talker: Talker, sayings: Sayings, shim: Shim) -> None:
    found = results(talker, of(sayings, "plain"), of(sayings, "here"), of(sayings, "pair", "dev"))
    assert [each.status for each in found] == [BuildStatus.BUILT] * 3
    assert all(each.times_built == 1 for each in found)
    assert all(0 < each.start_time <= each.stop_time for each in found)
    assert found[2].built_outputs.keys() == {"dev"}
    assert shim.serves(sayings.out("pair", "dev"))
    assert any("plain: built under emulation" in line for line in talker.said)
    assert not any("here" in line for line in talker.said)
    again = results(talker, of(sayings, "plain"), of(sayings, "here"))
    assert [each.status for each in again] == [BuildStatus.ALREADY_VALID] * 2


@pytest.mark.parametrize("number", [Number(1, 34), Number(1, 37), NEWEST], ids=str)
def test_outputs_are_named_as_nix_names_them(shim: Shim, sayings: Sayings, number: Number) -> None:
    with Talker(shim, newest=number) as talker:
        (found,) = results(talker, of(sayings, "pair"))
    derivation = sayings.derivation("pair")
    modulo = HashModulo(lambda path: pytest.fail(f"it has no inputs: {path}"))
    hashes = modulo.masked(derivation).hashes
    assert found.built_outputs == {
        name: Realisation(DrvOutput.of(hashes[name], name), path)
        for name, path in derivation.output_paths().items()
    }


def test_the_same_asked_twice_is_answered_twice_and_built_once(
    talker: Talker, sayings: Sayings, shim: Shim
) -> None:
    before = shim.log.read_text().count("build-started")
    found = results(talker, of(sayings, "plain"), of(sayings, "plain"), of(sayings, "plain", "out"))
    assert all(each.is_success for each in found)
    assert shim.log.read_text().count("build-started") == before + 1


def test_the_first_failure_ends_a_request(talker: Talker, sayings: Sayings, shim: Shim) -> None:
    failed, waiting = results(talker, of(sayings, "failing"), of(sayings, "napping"))
    assert failed.status is BuildStatus.PERMANENT_FAILURE
    assert "failing" in failed.error_message
    assert not waiting.is_success
    assert "keep-going" in waiting.error_message
    assert not shim.serves(sayings.out("napping"))


def test_with_keep_going_everything_else_is_built(talker: Talker, sayings: Sayings) -> None:
    talker.ask(SetOptions(keep_going=True))
    found = results(talker, of(sayings, "failing"), of(sayings, "bad"), of(sayings, "plain"))
    assert [each.is_success for each in found] == [False, False, True]


def test_the_old_operation_fails_as_a_whole_and_says_why(talker: Talker, sayings: Sayings) -> None:
    talker.ask(SetOptions(keep_going=True))
    paths = (of(sayings, "failing"), of(sayings, "bad"), of(sayings, "plain"))
    with pytest.raises(Refused) as refused:
        talker.ask(BuildPaths(paths))
    assert "failing" in str(refused.value)
    assert "bad.drv" in str(refused.value)
    assert talker.ask(IsValidPath(sayings.out("plain")))
    assert talker.ask(BuildPaths((of(sayings, "plain"),))) is None


def test_why_a_build_failed_is_told_beside_the_result(talker: Talker, sayings: Sayings) -> None:
    # Build hooks that were told that they are not trusted drop the result of this operation.
    results(talker, of(sayings, "failing"))
    told = "".join(talker.said)
    assert "failing: emulate failed" in told
    assert "so it goes" in "\n".join(talker.log)


def test_an_output_that_does_not_exist_is_nix_to_refuse(talker: Talker, sayings: Sayings) -> None:
    with pytest.raises(Refused, match="nope"):
        talker.ask(BuildPaths((of(sayings, "pair", "nope"),)))


def test_a_derivation_that_is_not_there_is_nix_to_refuse(talker: Talker, sayings: Sayings) -> None:
    missing = world.derivation("pkgs.words")
    with pytest.raises(Refused, match="words"):
        talker.ask(BuildPaths((Built(type(sayings.drvs["plain"]).parse(missing), ALL_OUTPUTS),)))


def test_what_is_below_a_native_build_is_made_by_us_too(
    talker: Talker, sayings: Sayings, shim: Shim
) -> None:
    (found,) = results(talker, of(sayings, "image"))
    assert found.status is BuildStatus.BUILT
    assert any("plain: built under emulation" in line for line in talker.said)
    assert (
        str(sayings.out("plain"))
        in shim.serving_root.joinpath(sayings.out("image").lstrip("/")).read_text()
    )


def test_inputs_of_a_foreign_build_are_made_first(talker: Talker, sayings: Sayings) -> None:
    (found,) = results(talker, of(sayings, "upper"))
    assert found.status is BuildStatus.BUILT
    told = "".join(talker.said)
    assert told.index("plain: built under emulation") < told.index("upper: built under emulation")


@pytest.mark.parametrize("peer", ["attic", None])
def test_a_path_that_a_foreign_derivation_makes_is_ensured(
    peer: str | None, sayings: Sayings, shim: Shim
) -> None:
    with Talker(shim, peer) as talker:
        assert talker.ask(EnsurePath(sayings.out("other"))) is None
        assert shim.serves(sayings.out("other"))
        assert talker.ask(EnsurePath(sayings.out("other"))) is None
        with pytest.raises(Refused, match="cannot be created"):
            talker.ask(EnsurePath(sayings.out("here")))
        (found,) = results(talker, of(sayings, "plain"))
        assert found.status is BuildStatus.BUILT


def test_what_makes_nothing_costs_an_operator_no_connection(sayings: Sayings, shim: Shim) -> None:
    assert shim.process is not None
    open_files = Path(f"/proc/{shim.process.pid}/fd")
    with Talker(shim, peer=None) as operator:
        counts = []
        for _ in range(5):
            with pytest.raises(Refused, match="cannot be created"):
                operator.ask(EnsurePath(sayings.out("here")))
            operator.ask(QueryMissing((of(sayings, "plain"),)))
            counts.append(len(list(open_files.iterdir())))
        assert counts[1] == counts[-1]
        assert operator.ask(EnsurePath(sayings.out("other"))) is None
        assert operator.ask(IsValidPath(sayings.out("other")))


def test_an_operator_may_greet_without_waiting(shim: Shim, sayings: Sayings) -> None:
    """It has heard all that there is to hear when it asks."""
    with Talker(shim, peer=None, newest=Number(1, 34), eager=True) as operator:
        (found,) = results(operator, of(sayings, "plain"))
    assert found.status is BuildStatus.BUILT


def test_a_path_as_it_is_is_the_nix_daemons(talker: Talker, sayings: Sayings) -> None:
    (found,) = results(talker, Opaque(sayings.drvs["plain"]))
    assert found.is_success
    (missing,) = results(talker, Opaque(sayings.out("plain")))
    assert missing.status is BuildStatus.NO_SUBSTITUTERS


def test_what_is_missing_is_what_we_would_do(talker: Talker, sayings: Sayings, shim: Shim) -> None:
    asked = (of(sayings, "upper"), of(sayings, "here"), Opaque(sayings.out("other")))
    missing = talker.ask(QueryMissing(asked))
    assert missing.will_build == {sayings.drvs[name] for name in ("upper", "plain", "here")}
    assert missing.unknown == {sayings.out("other")}
    assert missing.will_substitute == frozenset()
    results(talker, of(sayings, "plain"))
    assert talker.ask(QueryMissing(asked)).will_build == {
        sayings.drvs["upper"],
        sayings.drvs["here"],
    }
    results(talker, of(sayings, "upper"))
    assert talker.ask(QueryMissing(asked[:1])).will_build == frozenset()
    with Talker(shim, peer=None) as operator:
        assert operator.ask(QueryMissing(asked)) == talker.ask(QueryMissing(asked))


def test_what_cannot_be_made_here_is_unknown(
    sayings: Sayings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Neither cross nor emulated: nobody would know how to build it.
    closed = Shim(
        tmp_path_factory.mktemp("closed"),
        cross=False,
        more='[[rules]]\npeers = ["attic"]\nemulate = false',
    )
    sayings.put(closed.serving_root)
    with closed, Talker(closed) as talker:
        missing = talker.ask(QueryMissing((of(sayings, "plain"), of(sayings, "here"))))
        assert missing.unknown == {sayings.drvs["plain"]}
        assert missing.will_build == {sayings.drvs["here"]}
        (found,) = results(talker, of(sayings, "plain"))
        assert not found.is_success
        assert "emulate" in found.error_message
        assert any("plain" in line and "cannot be made here" in line for line in talker.said)


@pytest.mark.parametrize("mode", [BuildMode.REPAIR, BuildMode.CHECK])
def test_peers_neither_repair_nor_check_what_is_foreign(
    talker: Talker, sayings: Sayings, mode: BuildMode
) -> None:
    results(talker, of(sayings, "plain"))
    for request in (
        BuildPaths((of(sayings, "plain"),), mode),
        BuildPathsWithResults((of(sayings, "plain"),), mode),
        BuildDerivation(sayings.drvs["plain"], sayings.flat("plain"), mode),
    ):
        with pytest.raises(Refused, match=r"not (checked )?for boards"):
            talker.ask(request)


def test_peers_may_check_what_is_native(talker: Talker, sayings: Sayings) -> None:
    results(talker, of(sayings, "here"))
    (found,) = (
        result
        for _, result in talker.ask(BuildPathsWithResults((of(sayings, "here"),), BuildMode.CHECK))
    )
    assert found.is_success


def test_operators_check_and_repair_what_they_like(shim: Shim, sayings: Sayings) -> None:
    with Talker(shim, peer=None) as operator:
        results(operator, of(sayings, "plain"))
        for mode in (BuildMode.CHECK, BuildMode.REPAIR):
            assert operator.ask(BuildPaths((of(sayings, "plain"),), mode)) is None
