import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.realisation import (
    BadRealisation,
    DrvOutput,
    Form,
    Realisation,
    UnkeyedRealisation,
)
from tests.support import strategies

DIGEST = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"
OUT = StorePath.parse(f"/nix/store/{DIGEST}-foo")
ID = DrvOutput.of(Hash.of(b""), "out")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_output_is_named_by_hash_and_name() -> None:
    assert str(ID) == f"sha256:{EMPTY}!out"
    assert DrvOutput.parse(str(ID)) == ID
    assert ID.hash == Hash.of(b"")


@given(strategies.drv_outputs)
def test_names_come_back(name: DrvOutput) -> None:
    assert DrvOutput.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"sha256:{EMPTY}",
        f"sha256:{EMPTY}!",
        f"{EMPTY}!out",
        f"sha1:{EMPTY[:40]}!out",
        f"sha256:{EMPTY.upper()}!out",
        f"sha256:{Hash.of(b'').nix32()}!out",
        f"{Hash.of(b'').sri()}!out",
    ],
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        DrvOutput.parse(text)


def test_the_json_of_old_peers_is_compact_and_sorted() -> None:
    value = Realisation(ID, OUT, ("k:c2ln",), {replace(ID, output="dev"): OUT})
    assert value.render() == (
        f'{{"dependentRealisations":{{"sha256:{EMPTY}!dev":"{DIGEST}-foo"}},'
        f'"id":"sha256:{EMPTY}!out","outPath":"{DIGEST}-foo","signatures":["k:c2ln"]}}'
    )


def test_the_json_of_new_peers_for_old_ones_names_nothing() -> None:
    zeroes = "0" * 64
    value = Realisation.minimal("out", OUT)
    assert value.render() == f'{{"id":"sha256:{zeroes}!out","outPath":"{DIGEST}-foo"}}'
    assert Realisation.parse(value.render()) == value


def test_signatures_may_be_objects() -> None:
    text = (
        f'{{"dependentRealisations":{{}},"id":"sha256:{EMPTY}!out","outPath":"{DIGEST}-foo",'
        '"signatures":[{"keyName":"k","sig":"c2ln"}]}'
    )
    value = Realisation.parse(text)
    assert (value.form, value.signatures) == (Form.OBJECTS, ("k:c2ln",))
    assert value.render() == text


@given(strategies.realisations("/s"))
def test_every_realisation_comes_back(value: Realisation) -> None:
    assert Realisation.parse(value.render(), "/s") == value


def test_the_minimal_form_says_nothing_more() -> None:
    with pytest.raises(LocalProtocolError, match="no signatures"):
        replace(Realisation.minimal("out", OUT), signatures=("k:c2ln",)).render()


def test_a_fact_can_be_told_without_its_name() -> None:
    assert Realisation(ID, OUT, ("k:c2ln",)).unkeyed() == UnkeyedRealisation(OUT, ("k:c2ln",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 1}, "^id: expected a text"),
        ({"id": "x"}, "^id: expected a hash"),
        ({"outPath": f"/nix/store/{DIGEST}-foo"}, "^outPath: "),
        ({"outPath": None}, "^outPath: expected a text"),
        ({"signatures": "x"}, "^signatures: expected a JSON array"),
        ({"signatures": [1]}, "^signatures: expected a text"),
        ({"signatures": [{"sig": "x"}]}, "^signatures: expected a text"),
        ({"dependentRealisations": []}, "^dependentRealisations: expected a JSON object"),
        ({"dependentRealisations": {"x": "y"}}, "^dependentRealisations: expected a hash"),
    ],
)
def test_the_refusal_names_the_key(change: dict[str, object], message: str) -> None:
    value = Realisation(ID, OUT).as_json() | change
    with pytest.raises(RemoteProtocolError, match=message):
        Realisation.parse(json.dumps(value))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000, '"\\ud800"'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(BadRealisation):
        Realisation.parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["id", "outPath", "signatures", "x"]), JSON) | JSON)
def test_junk_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        Realisation.from_json(value)
