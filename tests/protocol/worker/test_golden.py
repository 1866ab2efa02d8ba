"""Nix's golden bytes: every file of the worker and the common protocol, both directions."""

from dataclasses import dataclass
from typing import Any

import pytest

from protocol import common
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derived_path import ALL_OUTPUTS, Built, Opaque
from protocol.store.path import StorePath
from protocol.store.realisation import Realisation, UnkeyedRealisation
from protocol.version import PATH_NOT_HASH, Dialect, Number
from protocol.wire.codec import Codec, decode_many, list_of, set_of, text
from protocol.worker import handshake, results
from protocol.worker.handshake import ServerInfo, Trust
from tests.support.golden import documented, golden
from tests.support.shared import SHARED


@dataclass(frozen=True)
class File:
    name: str
    codec: Codec[Any]
    number: str = "1.10"
    features: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    @property
    def dialect(self) -> Dialect:
        return Dialect(Number.parse(self.number), self.features)

    def values(self) -> list[Any]:
        return decode_many(self.codec, golden(self.name), self.dialect)


BY_PATH = frozenset({PATH_NOT_HASH})

# Each of these two holds lists and one list of lists, one after the other: read by halves.
NESTED = [
    File("worker-protocol/vector", list_of(text)),
    File("common-protocol/set", set_of(text)),
]

FILES = [
    File("common-protocol/content-address", common.content_address),
    File("common-protocol/optional-content-address", common.optional_content_address),
    File("common-protocol/realisation-with-deps", common.realisation_json),
    File("common-protocol/string", text),
    File("worker-protocol/build-mode", results.build_mode),
    File("worker-protocol/build-result-1.28", results.build_result, "1.28"),
    File("worker-protocol/build-result-1.29", results.build_result, "1.29"),
    File(
        "worker-protocol/build-result-realisation-with-path-not-hash",
        results.build_result,
        "1.38",
        BY_PATH,
    ),
    File("worker-protocol/client-handshake-info_1_33", handshake.server_info, "1.33"),
    File("worker-protocol/content-address", common.content_address),
    File("worker-protocol/derived-path-1.30", results.derived_path, "1.30"),
    File("worker-protocol/drv-output", common.drv_output),
    File("worker-protocol/keyed-build-result-1.29", results.keyed_build_result, "1.29"),
    File("worker-protocol/optional-store-path", common.optional_store_path),
    File("worker-protocol/realisation", common.realisation_json),
    File(
        "worker-protocol/realisation-realisation-with-path-not-hash",
        common.realisation_by_path,
        "1.38",
        BY_PATH,
    ),
    File("worker-protocol/store-path", common.store_path),
    File(
        "worker-protocol/unkeyed-realisation-realisation-with-path-not-hash",
        common.unkeyed_realisation,
        "1.38",
        BY_PATH,
    ),
    File("worker-protocol/valid-path-info-1.15", results.valid_path_info, "1.15"),
]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_speaks_like_nix(file: File) -> None:
    values = file.values()
    assert b"".join(file.codec.put(value, file.dialect) for value in values) == golden(file.name)


@pytest.mark.parametrize("file", NESTED, ids=str)
def test_lists_of_lists(file: File) -> None:
    data = golden(file.name)
    flat, nested = file.codec, (list_of if "vector" in file.name else set_of)
    deep: Any = nested(flat, order=sorted) if nested is set_of else nested(flat)
    # Three lists of texts have 8, 16 and 48 bytes; the fourth value is a list of such lists.
    shallow = decode_many(flat, data[:72], file.dialect)
    (whole,) = decode_many(deep, data[72:], file.dialect)
    assert [sorted(texts) for texts in shallow] == [[], [""], ["", "bar", "foo"]]
    assert sorted(map(sorted, whole)) == [[], [""], ["", "1", "2"]]
    written = b"".join(flat.put(texts, file.dialect) for texts in shallow)
    assert written + deep.put(whole, file.dialect) == data


def test_no_file_is_forgotten() -> None:
    if not SHARED.exists():
        pytest.skip("../shared is absent: it is not shipped with the source")
    there = {
        f"{folder}/{path.stem}"
        for folder in ("worker-protocol", "common-protocol")
        for path in (SHARED / "golden" / folder).glob("*.bin")
    }
    assert there <= {file.name for file in [*FILES, *NESTED]}


def path(base: str) -> StorePath:
    return StorePath.of(base)


FOO = path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo")


def file(name: str) -> File:
    return next(file for file in FILES if file.name == f"worker-protocol/{name}")


@pytest.mark.parametrize(
    "name",
    ["build-result-1.28", "build-result-1.29", "build-result-realisation-with-path-not-hash"],
)
def test_build_results_are_the_documented_ones(name: str) -> None:
    wanted = documented(f"worker-protocol/{name}")
    found: list[BuildResult] = file(name).values()
    assert [result.is_success for result in found] == [each["success"] for each in wanted]
    assert [result.error_message for result in found] == [
        each.get("errorMsg", "") for each in wanted
    ]
    assert [result.status.name.replace("_", "").lower() for result in found] == [
        each["status"].lower() for each in wanted
    ]
    if file(name).dialect.number >= Number(1, 29):
        assert [result.stop_time for result in found] == [each["stopTime"] for each in wanted]
    outputs = [
        {output: each.out_path.base for output, each in result.built_outputs.items()}
        for result in found
    ]
    assert outputs == [
        {output: one["outPath"] for output, one in each.get("builtOutputs", {}).items()}
        for each in wanted
    ]


def test_outputs_are_named_the_way_that_was_negotiated() -> None:
    (*_, by_hash) = file("build-result-1.28").values()
    (*_, by_path) = file("build-result-realisation-with-path-not-hash").values()
    assert {type(each) for each in by_hash.built_outputs.values()} == {Realisation}
    assert {type(each) for each in by_path.built_outputs.values()} == {UnkeyedRealisation}


def test_derived_paths_are_the_documented_ones() -> None:
    bar = path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar.drv")
    assert file("derived-path-1.30").values() == [
        Opaque(FOO),
        Opaque(path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv")),
        Built(bar, ALL_OUTPUTS),
        Built(bar, frozenset({"x", "y"})),
    ]


def test_keyed_results_are_the_documented_ones() -> None:
    (opaque, first), (built, second) = file("keyed-build-result-1.29").values()
    assert opaque == Opaque(path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-xxx"))
    assert first.status is BuildStatus.OUTPUT_REJECTED
    assert built == Built(path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar.drv"), frozenset({"out"}))
    assert second.times_built == 3


def test_path_infos_are_the_documented_ones() -> None:
    first, second = file("valid-path-info-1.15").values()
    bar = path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar")
    assert (first.path, first.info.references) == (bar, frozenset())
    assert second.info.references == {bar, path("g1w7hyyyy1w7hy3qg1w7hy3qgqqqqy3q-foo")}
    assert not second.info.signatures


def test_server_infos_are_the_documented_ones() -> None:
    assert file("client-handshake-info_1_33").values() == [
        ServerInfo("foo", Trust.UNKNOWN),
        ServerInfo("bar", Trust.UNKNOWN),
    ]


def test_realisations_are_the_documented_ones() -> None:
    (keyed,) = file("realisation-realisation-with-path-not-hash").values()
    assert (keyed.id.path, keyed.id.output) == (
        path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv"),
        "baz",
    )
    assert keyed.value.out_path == FOO
    assert [signature.partition(":")[0] for signature in keyed.value.signatures] == ["asdf", "qwer"]


def test_strings_are_the_documented_ones() -> None:
    texts = next(file for file in FILES if file.name == "common-protocol/string").values()
    assert texts == ["", "hi", "white rabbit", "大白兔", "oh no "]
