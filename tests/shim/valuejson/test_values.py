import json
from typing import Any

import pytest

from protocol.errors import RemoteProtocolError
from protocol.store.path import STORE_DIR
from shim.valuejson import form, values
from shim.valuejson.form import BadJson, Form
from tests.support.shared import shared

PATH = "00000000000000000000000000000000-a"
DRV = "00000000000000000000000000000000-a.drv"
INFO = values.path_info(STORE_DIR)
KEYED_INFO = values.valid_path_info(STORE_DIR)

UPSTREAM: list[tuple[str, Form[Any]]] = [
    ("common-protocol/content-address", values.content_address),
    ("common-protocol/optional-content-address", form.optional(values.content_address)),
    ("common-protocol/realisation-with-deps", values.realisation),
    ("common-protocol/string", form.text),
    ("serve-protocol/build-result-2.2", values.build_result),
    ("serve-protocol/build-result-2.6", values.build_result),
    ("serve-protocol/build-result-2.8", values.build_result),
    ("serve-protocol/drv-output-2.8", values.drv_output_by_path),
    ("serve-protocol/optional-store-path", form.optional(values.store_path)),
    ("serve-protocol/unkeyed-valid-path-info-2.3", INFO),
    ("worker-protocol/build-result-1.28", values.build_result),
    ("worker-protocol/build-result-realisation-with-path-not-hash", values.build_result),
    ("worker-protocol/derived-path-1.30", values.derived_path),
    ("worker-protocol/drv-output", values.drv_output),
    ("worker-protocol/keyed-build-result-1.29", values.keyed_build_result),
    ("worker-protocol/realisation", values.realisation),
    ("worker-protocol/store-path", values.store_path),
    ("worker-protocol/valid-path-info-1.15", KEYED_INFO),
]


@pytest.mark.parametrize(("name", "kind"), UPSTREAM, ids=[name for name, _ in UPSTREAM])
def test_the_forms_are_those_of_nix(name: str, kind: Form[Any]) -> None:
    for value in json.loads(shared(f"golden/{name}.json").read_text()):
        assert kind.write(kind.read(value, STORE_DIR)) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (values.build_result, {"status": "Built", "errorMsg": "odd", "isNonDeterministic": True}),
        (values.build_result, {"status": "TimedOut", "builtOutputs": {"out": {"outPath": PATH}}}),
        (values.derived_path, {"drvPath": {"drvPath": DRV, "output": "o"}, "outputs": ["p"]}),
        (INFO, {"narHash": f"sha256-{'A' * 43}=", "signatures": ["no colon", "k:"]}),
        (form.text, "\udcff"),
        (form.set_of(form.text), ["b", "a", "\udc80"]),
    ],
)
def test_nothing_is_lost_on_the_way_through_json(kind: Form[Any], value: object) -> None:
    read = kind.read(value, STORE_DIR)
    assert kind.read(form.parse(form.render(kind.write(read))), STORE_DIR) == read


def test_bytes_that_are_not_utf8_are_printed_in_ascii() -> None:
    printed = form.render("\udcff\u00e4")
    assert printed == '"\\udcff\u00e4"'
    assert form.parse(printed.encode()) == "\udcff\u00e4"


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (form.text, 5, "expected a text, found `5`"),
        (form.number, True, "expected a whole number, found `true`"),
        (form.text, "\ud800", "stands for no byte"),
        (form.list_of(form.number), [1, "x"], "1: expected a whole number"),
        (values.build_result, {"status": "Fine"}, "status: unknown status of a build: `Fine`"),
        (values.build_result, {"status": "Built", "x": 1}, "unknown key: `x`"),
        (INFO, {}, "`narHash` is missing"),
        (values.content_address, {"method": "tar", "hash": "x"}, "method: expected text"),
        (values.store_path, "hello", "no digest"),
    ],
)
def test_mistakes_are_named_with_their_place(
    kind: Form[Any], value: object, complaint: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        kind.read(value, STORE_DIR)


def test_what_is_no_json_is_said_to_be_none() -> None:
    with pytest.raises(BadJson, match="not JSON"):
        form.parse("{")
