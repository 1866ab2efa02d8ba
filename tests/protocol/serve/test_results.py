from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.serve import messages, results
from protocol.serve.messages import REGISTRY
from protocol.serve.values import NEWEST, BuildOptions, BuildPathsResult
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path_info import PathInfo
from protocol.version import Dialect, Number
from protocol.wire.codec import Codec, decode
from protocol.wire.source import Source, Underrun
from tests.support import strategies as some

VERSIONS = [Number(2, minor) for minor in range(NEWEST.minor + 1)]
U32 = st.integers(0, 2**32 - 1)
UNKNOWN = Hash(HashAlgorithm.SHA256, bytes(32))


def path_infos(number: Number) -> st.SearchStrategy[PathInfo]:
    """As far as this version tells them."""
    full = number >= Number(2, 4)
    return st.builds(
        PathInfo,
        deriver=st.none() | some.derivation_paths(),
        nar_hash=some.sha256 if full else st.just(UNKNOWN),
        references=st.frozensets(some.store_paths(), max_size=4),
        nar_size=some.U64,
        signatures=st.frozensets(some.signatures, max_size=3) if full else st.just(frozenset()),
        content_address=st.none() | some.content_addresses if full else st.none(),
    )


def build_results(number: Number) -> st.SearchStrategy[BuildResult]:
    timed = number >= Number(2, 3)
    outputs: st.SearchStrategy[Any] = st.just({})
    if number >= Number(2, 8):
        outputs = st.dictionaries(some.output_names, some.unkeyed_realisations(), max_size=3)
    elif number >= Number(2, 6):
        outputs = st.lists(some.realisations(), max_size=3, unique_by=lambda r: r.id.output).map(
            lambda found: {realisation.id.output: realisation for realisation in found}
        )
    return st.builds(
        BuildResult,
        status=st.sampled_from(BuildStatus),
        error_message=some.texts(),
        times_built=some.U64 if timed else st.just(0),
        is_non_deterministic=st.booleans() if timed else st.just(False),
        start_time=some.I64 if timed else st.just(0),
        stop_time=some.I64 if timed else st.just(0),
        built_outputs=outputs,
    )


def build_options(number: Number) -> st.SearchStrategy[BuildOptions]:
    return st.builds(
        BuildOptions,
        max_silent_time=U32,
        build_timeout=U32,
        max_log_size=some.U64 if number >= Number(2, 2) else st.just(0),
        nr_repeats=U32 if number >= Number(2, 3) else st.just(0),
        enforce_determinism=st.booleans() if number >= Number(2, 3) else st.just(False),
        keep_failed=st.booleans() if number >= Number(2, 7) else st.just(False),
    )


def requests(number: Number) -> dict[type[Any], st.SearchStrategy[Any]]:
    """Every command of a version."""
    paths = st.frozensets(some.store_paths(), max_size=4)
    every = {
        messages.QueryValidPaths: st.builds(
            messages.QueryValidPaths, st.booleans(), st.booleans(), paths
        ),
        messages.QueryPathInfos: st.builds(messages.QueryPathInfos, paths),
        messages.DumpStorePath: st.builds(messages.DumpStorePath, some.store_paths()),
        messages.ImportPaths: st.just(messages.ImportPaths()),
        messages.ExportPaths: st.builds(
            messages.ExportPaths, some.U64, st.lists(some.store_paths(), max_size=4).map(tuple)
        ),
        messages.BuildPaths: st.builds(
            messages.BuildPaths,
            st.lists(some.derived_paths(legacy=True), max_size=3).map(tuple),
            build_options(number),
        ),
        messages.QueryClosure: st.builds(messages.QueryClosure, st.booleans(), paths),
        messages.BuildDerivation: st.builds(
            messages.BuildDerivation,
            some.derivation_paths(),
            some.basic_derivations(),
            build_options(number),
        ),
        messages.AddToStoreNar: st.builds(
            messages.AddToStoreNar.of, some.store_paths(), some.path_infos()
        ),
    }
    codes = {REGISTRY.by_name[kind.__name__].code for kind in every}
    assert codes == set(REGISTRY.by_code)
    return {
        kind: strategy
        for kind, strategy in every.items()
        if REGISTRY.by_name[kind.__name__].exists(Dialect(number))
    }


TYPES: dict[str, tuple[Codec[Any], Callable[[Number], st.SearchStrategy[Any]]]] = {
    "path info": (results.path_info, path_infos),
    "build result": (results.build_result, build_results),
    "build options": (results.build_options, build_options),
    "derived path": (results.derived_path, lambda _: some.derived_paths(legacy=True)),
    "paths and infos": (
        results.path_infos,
        lambda number: st.lists(st.tuples(some.store_paths(), path_infos(number)), max_size=3).map(
            tuple
        ),
    ),
    "result of building paths": (
        results.build_paths_result,
        lambda _: (
            st.builds(BuildPathsResult, st.integers(1, 2**64 - 1), some.texts())
            | st.just(BuildPathsResult())
        ),
    ),
}


def feed(codec: Codec[Any], data: bytes, step: int, dialect: Dialect) -> tuple[Any, int]:
    """The value, read from pieces of `step` bytes, and what is left."""
    source = Source()
    source.begin(1 << 20)
    for start in range(0, len(data), step):
        source.feed(data[start : start + step])
        if not source.starved:
            with suppress(Underrun):
                return codec.get(source, dialect), len(source) + max(0, len(data) - start - step)
    raise AssertionError("the value did not end")


@pytest.mark.parametrize("name", TYPES)
@given(number=st.sampled_from(VERSIONS), data=st.data(), step=st.integers(1, 64))
def test_values_survive_the_wire_however_they_are_cut(
    name: str, number: Number, data: st.DataObject, step: int
) -> None:
    codec, values = TYPES[name]
    value = data.draw(values(number))
    encoded = codec.put(value, Dialect(number))
    assert feed(codec, encoded, step, Dialect(number)) == (value, 0)


@given(number=st.sampled_from(VERSIONS), data=st.data(), step=st.integers(1, 64))
def test_requests_survive_the_wire_however_they_are_cut(
    number: Number, data: st.DataObject, step: int
) -> None:
    kind = data.draw(st.sampled_from(list(requests(number))))
    request = data.draw(requests(number)[kind])
    encoded = kind.operation.layout.put(request, Dialect(number))
    if encoded:
        assert feed(kind.operation.layout, encoded, step, Dialect(number)) == (request, 0)


@pytest.mark.parametrize("name", TYPES)
@given(junk=st.binary(max_size=300), number=st.sampled_from(VERSIONS))
def test_junk_is_refused_or_read(name: str, junk: bytes, number: Number) -> None:
    codec, _ = TYPES[name]
    with suppress(RemoteProtocolError):
        value = decode(codec, junk, Dialect(number))
        assert decode(codec, codec.put(value, Dialect(number)), Dialect(number)) == value


def test_an_empty_nar_hash_is_an_unknown_one() -> None:
    info = PathInfo(nar_hash=UNKNOWN)
    written = results.path_info.put(info, Dialect(NEWEST))
    empty = written.replace((59).to_bytes(8, "little") + str(UNKNOWN).encode() + bytes(5), bytes(8))
    assert len(empty) < len(written)
    assert decode(results.path_info, empty, Dialect(NEWEST)) == info


@pytest.mark.parametrize("status", [BuildStatus.MISC_FAILURE, BuildStatus.TIMED_OUT])
def test_failures_are_numbers_that_every_client_takes_for_one(status: BuildStatus) -> None:
    assert BuildPathsResult.failed("no", status) == BuildPathsResult(int(status), "no")


@pytest.mark.parametrize(
    "status",
    [
        BuildStatus.BUILT,
        BuildStatus.SUBSTITUTED,
        BuildStatus.RESOLVES_TO_ALREADY_VALID,
        BuildStatus.NO_SUBSTITUTERS,
    ],
)
def test_failures_are_never_numbers_that_clients_misread(status: BuildStatus) -> None:
    with pytest.raises(LocalProtocolError, match="do not take"):
        BuildPathsResult.failed("no", status)


def test_the_message_of_a_failure_is_part_of_the_answer() -> None:
    failed = BuildPathsResult(1, "error: no")
    data = results.build_paths_result.put(failed, Dialect(NEWEST))
    assert decode(results.build_paths_result, data, Dialect(NEWEST)) == failed
    assert not failed.is_success
