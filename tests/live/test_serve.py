"""The serve protocol, command by command, side by side with a real `nix-store --serve --write`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from protocol.exports import BEGIN, END, Item, trailer
from protocol.serve.messages import (
    AddToStoreNar,
    BuildDerivation,
    BuildPaths,
    DumpStorePath,
    ExportPaths,
    ImportPaths,
    QueryClosure,
    QueryPathInfos,
    QueryValidPaths,
)
from protocol.serve.values import BuildOptions
from protocol.store.build_result import BuildStatus
from protocol.store.derived_path import ALL_OUTPUTS, Built, Opaque
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Number
from protocol.worker.forms import flat_nar
from tests.live import quick, world
from tests.live.quick import Quick
from tests.live.world import SHIM, Shim
from tests.support.serving import Broken, ServeClient

NEWEST = Number(2, 8)
NOTHING = BuildOptions()


@dataclass(frozen=True)
class Served:
    """A real server and ours, whose stores hold the same."""

    real: list[str | Path]
    shim: list[str | Path]
    quick: Quick
    root: Path
    """Of our store."""

    def both(self, number: Number = NEWEST) -> tuple[ServeClient, ServeClient]:
        environ = world.environment()
        return ServeClient(self.real, environ, number), ServeClient(self.shim, environ, number)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = tmp_path_factory.mktemp("serve")
    made = quick.make(base)
    made.put(base / "real")
    with Shim(base / "shim", cross=False) as shim:
        made.put(shim.serving_root)
        yield Served(
            real=["nix-store", "--serve", "--write", "--store", f"local?root={base / 'real'}"],
            shim=[SHIM, "stdio", "--socket", shim.socket, "--peer", "attic", "--serve", "--write"],
            quick=made,
            root=shim.serving_root,
        )


def asked(served: Served) -> dict[str, Any]:
    everything = frozenset([*served.quick.drvs.values(), *served.quick.outputs.values()])
    nowhere = StorePath.parse(f"/nix/store/{'0' * 32}-nowhere")
    return {
        "valid": QueryValidPaths(False, False, everything | {nowhere}),
        "valid, locked": QueryValidPaths(True, False, everything | {nowhere}),
        "valid, substituted": QueryValidPaths(True, True, frozenset({nowhere})),
        "infos": QueryPathInfos(everything | {nowhere}),
        "no infos": QueryPathInfos(frozenset({nowhere})),
        "dump": DumpStorePath(served.quick.outputs["top"]),
        "export": ExportPaths(0, (served.quick.outputs["top"], *served.quick.outputs.values())),
        "nothing exported": ExportPaths(0, ()),
        "closure": QueryClosure(False, frozenset({served.quick.outputs["top"]})),
        "closure of derivations": QueryClosure(False, frozenset({served.quick.drvs["top"]})),
        "closure with outputs": QueryClosure(True, frozenset({served.quick.drvs["top"]})),
    }


QUESTIONS = (
    *("valid", "valid, locked", "valid, substituted", "infos", "no infos", "dump", "export"),
    *("nothing exported", "closure", "closure of derivations", "closure with outputs"),
)


@pytest.mark.parametrize("minor", range(9))
def test_questions_are_answered_as_by_nix_store(minor: int, served: Served) -> None:
    real, shim = served.both(Number(2, minor))
    with real, shim:
        assert shim.number == Number(2, minor)
        for name in QUESTIONS:
            request = asked(served)[name]
            assert shim.ask(request) == real.ask(request), name
        assert shim.leave()[0] == real.leave()[0] == 0


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param(DumpStorePath, id="dump"),
        pytest.param(lambda nowhere: QueryClosure(False, frozenset({nowhere})), id="closure"),
        pytest.param(lambda nowhere: ExportPaths(0, (nowhere,)), id="export"),
    ],
)
def test_questions_about_nothing_end_the_session(
    request_of: Callable[[StorePath], Any], served: Served
) -> None:
    nowhere = StorePath.parse(f"/nix/store/{'0' * 32}-nowhere")
    real, shim = served.both()
    for client in (real, shim):
        with client:
            with pytest.raises(Broken):
                client.ask(request_of(nowhere))
            code, said = client.leave()
        assert code == 1
        assert "is not valid" in said
        assert said.count("\n") == 1


def uploads() -> Iterator[tuple[StorePath, PathInfo, bytes]]:
    """A small path and one that is not held in memory."""
    for number, contents in enumerate((b"first", b"second" * 2_000_000)):
        nar = flat_nar(contents)
        path = StorePath.parse(f"/nix/store/{number:032d}-upload")
        yield path, PathInfo(nar_hash=Hash.of(nar), nar_size=len(nar)), nar


@pytest.mark.parametrize("minor", [5, 6, 7, 8])
def test_paths_are_added(minor: int, served: Served) -> None:
    real, shim = served.both(Number(2, minor))
    with real, shim:
        for path, info, nar in uploads():
            request = AddToStoreNar.of(path, info)
            pieces = [nar[:7], nar[7:]]
            assert shim.ask(request, pieces) is real.ask(request, pieces) is None
            infos = QueryPathInfos(frozenset({path}))
            assert shim.ask(infos) == real.ask(infos)
            assert shim.ask(DumpStorePath(path)) == nar
        assert shim.leave() == (0, "")


@pytest.mark.parametrize("minor", [0, 4, 8])
def test_exports_are_imported(minor: int, served: Served) -> None:
    stream = [BEGIN + nar + trailer(Item(path, frozenset(), None)) for path, _, nar in uploads()]
    real, shim = served.both(Number(2, minor))
    with real, shim:
        for client in (real, shim):
            assert client.ask(ImportPaths(), [*stream, END]) is None
        infos = QueryPathInfos(frozenset(path for path, _, _ in uploads()))
        assert shim.ask(infos) == real.ask(infos)
        assert len(shim.ask(infos)) == 2


def test_a_nar_that_is_not_what_it_was_said_to_be_is_refused(served: Served) -> None:
    nar = flat_nar(b"what came")
    path = StorePath.parse(f"/nix/store/{'9' * 32}-liar")
    info = PathInfo(nar_hash=Hash(Hash.of(nar).algorithm, bytes(32)), nar_size=len(nar))
    for client in served.both():
        with client:
            with pytest.raises(Broken):
                client.ask(AddToStoreNar.of(path, info), [nar])
            code, said = client.leave()
            assert code == 1
            assert "hash mismatch" in said


def build(served: Served, name: str, options: BuildOptions) -> BuildDerivation:
    return BuildDerivation(served.quick.drvs[name], served.quick.flat(name), options)


@pytest.mark.parametrize("minor", [1, 2, 3, 6, 7, 8])
def test_derivations_are_built(minor: int, served: Served) -> None:
    options = BuildOptions(max_silent_time=100, build_timeout=200)
    with served.both(Number(2, minor))[1] as shim:
        result = shim.ask(build(served, "fresh", options))
        assert result.status is BuildStatus.BUILT
        failed = shim.ask(build(served, "bad", options))
        assert failed.status is BuildStatus.PERMANENT_FAILURE
        assert "exit code 3" in failed.error_message
        code, said = shim.leave()
    assert code == 0
    assert "said\n" in said
    assert "so it goes\n" in said
    served.quick.forget(served.root, "fresh")


def test_results_are_those_of_nix_store(served: Served) -> None:
    real, shim = served.both(Number(2, 7))
    request = build(served, "fresh", NOTHING)
    with real, shim:
        pairs = [(client.ask(request), client.ask(request)) for client in (real, shim)]
        for made, again in pairs:
            assert made.status is BuildStatus.BUILT
            assert again.status is BuildStatus.ALREADY_VALID
        assert pairs[0][0].built_outputs == pairs[1][0].built_outputs
        said = [client.leave()[1] for client in (real, shim)]
    assert said[0] == said[1]
    served.quick.forget(served.root, "fresh")


def test_paths_are_built_and_failures_are_numbers_that_every_client_knows(served: Served) -> None:
    good, bad = served.quick.drvs["fresh"], served.quick.drvs["bad"]
    with served.both()[1] as shim:
        wanted = (Built(good, ALL_OUTPUTS), Opaque(served.quick.outputs["dev"]))
        assert shim.ask(BuildPaths(wanted, NOTHING)).is_success
        failed = shim.ask(BuildPaths((Built(bad, ALL_OUTPUTS),), NOTHING))
        assert 3 <= failed.status <= 12
        assert "exit code 3" in failed.message
        # The session goes on behind a failure.
        assert shim.ask(QueryValidPaths(False, False, frozenset({good}))) == {good}
        assert shim.leave()[0] == 0
    served.quick.forget(served.root, "fresh")


@pytest.mark.parametrize(
    ("options", "status", "complaint"),
    [
        (BuildOptions(nr_repeats=1), BuildStatus.MISC_FAILURE, "repeating builds"),
        (BuildOptions(max_log_size=500), BuildStatus.LOG_LIMIT_EXCEEDED, "500 bytes"),
    ],
)
def test_wishes_of_the_client_are_heeded(
    options: BuildOptions, status: BuildStatus, complaint: str, served: Served
) -> None:
    with served.both()[1] as shim:
        result = shim.ask(build(served, "loud", options))
        assert result.status is status
        assert complaint in result.error_message
        shim.leave()


@pytest.mark.parametrize(
    "options", [BuildOptions(max_silent_time=1), BuildOptions(build_timeout=1)]
)
def test_builds_time_out_as_the_client_says(options: BuildOptions, served: Served) -> None:
    with served.both()[1] as shim:
        result = shim.ask(build(served, "slow", options))
        assert result.status is BuildStatus.TIMED_OUT
        shim.leave()


@pytest.mark.parametrize("kind", ["import", "add", "build", "realise"])
def test_a_session_that_may_only_read_does_not_write(kind: str, served: Served) -> None:
    path, info, nar = next(uploads())
    requests: dict[str, tuple[Any, list[bytes]]] = {
        "import": (ImportPaths(), [END]),
        "add": (AddToStoreNar.of(path, info), [nar]),
        "build": (build(served, "fresh", NOTHING), []),
        "realise": (BuildPaths((), NOTHING), []),
    }
    request, body = requests[kind]
    for program in (served.real, served.shim):
        reading = [word for word in program if word != "--write"]
        with ServeClient(reading, world.environment()) as client:
            assert client.ask(QueryValidPaths(True, True, frozenset())) == frozenset()
            with pytest.raises(Broken):
                client.ask(request, body)
            code, said = client.leave()
        assert code == 1
        assert said.startswith("error: ")
