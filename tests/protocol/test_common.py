"""What both protocols spell alike, and what becomes of realisations between peers of two ages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import common
from protocol.errors import RemoteProtocolError
from protocol.store.derivation import BasicDerivation, Deferred, InputAddressed
from protocol.store.path import StorePath
from protocol.store.realisation import DrvOutput, Realisation, UnkeyedRealisation
from protocol.version import Dialect, Number
from protocol.wire.codec import decode, map_of
from tests.support.strategies import basic_derivations, realisations, store_paths
from tests.support.worker import cut, read_in_pieces

DIALECT = Dialect(Number(1, 38))
ELSEWHERE = Dialect(Number(1, 38), store_dir="/data/nix/store")
FOO = StorePath.of(f"{'0' * 32}-foo")
ID = DrvOutput("ab" * 32, "out")


@given(store_paths("/data/nix/store"))
def test_paths_lie_in_the_store_directory_in_use(path: StorePath) -> None:
    data = common.store_path.put(path, ELSEWHERE)
    assert decode(common.store_path, data, ELSEWHERE) == path
    with pytest.raises(RemoteProtocolError, match="not in the store directory"):
        decode(common.store_path, data, DIALECT)


def test_base_names_leave_the_store_directory_out() -> None:
    path = StorePath.of(f"{'0' * 32}-foo", "/data/nix/store")
    data = common.base_name.put(path, ELSEWHERE)
    assert data[8:].rstrip(b"\0") == path.base.encode()
    assert decode(common.base_name, data, ELSEWHERE) == path


@pytest.mark.parametrize("size", [4097, 1 << 63])
def test_paths_are_limited(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="at most 4096"):
        decode(common.store_path, size.to_bytes(8, "little"), DIALECT)


def test_the_padding_of_a_path_is_zero() -> None:
    data = bytearray(common.store_path.put(FOO, DIALECT))
    data[-1] = 1
    with pytest.raises(RemoteProtocolError, match="padding"):
        decode(common.store_path, bytes(data), DIALECT)


def test_hashes_are_read_in_any_spelling() -> None:
    empty = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
    data = common.text_list.put((empty,), DIALECT)[8:]
    found = decode(common.nar_hash, data, DIALECT)
    assert found.base16().startswith("e3b0c442")
    assert common.nar_hash.put(found, DIALECT)[8:12] == b"e3b0"


@given(basic_derivations("/data/nix/store"), st.lists(st.integers(1, 30), max_size=60))
def test_derivations_survive_any_chunking(derivation: BasicDerivation, sizes: list[int]) -> None:
    data = common.basic_derivation.put(derivation, ELSEWHERE)
    found = read_in_pieces(common.basic_derivation, cut(data, sizes), ELSEWHERE)
    assert found == derivation


def test_a_derivation_with_outputs_of_two_kinds_is_refused() -> None:
    mixed = BasicDerivation(
        outputs={"out": InputAddressed(FOO), "dev": Deferred()},
        input_sources=frozenset(),
        platform="builtin",
        builder="builtin:fetchurl",
        args=(),
        env={},
    )
    data = common.basic_derivation.put(mixed, DIALECT)
    with pytest.raises(RemoteProtocolError, match=r"^outputs: "):
        decode(common.basic_derivation, data, DIALECT)


def test_an_old_peer_is_told_outputs_under_no_hash() -> None:
    outputs = {"out": UnkeyedRealisation(FOO, ("key:sig",))}
    data = common.built_outputs_json.put(outputs, DIALECT)
    assert b'{"id":"sha256:' + b"0" * 64 + b'!out","outPath":"' in data
    (found,) = decode(common.built_outputs_json, data, DIALECT).values()
    assert found == Realisation.minimal("out", FOO)


@given(realisations())
def test_a_new_peer_is_told_outputs_without_hash(realisation: Realisation) -> None:
    data = common.built_outputs.put({"out": realisation}, DIALECT)
    assert decode(common.built_outputs, data, DIALECT) == {"out": realisation.unkeyed()}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({ID: Realisation(DrvOutput("cd" * 32, "out"), FOO)}, "calls itself"),
        (
            {
                ID: Realisation(ID, FOO),
                DrvOutput("cd" * 32, "out"): Realisation(DrvOutput("cd" * 32, "out"), FOO),
            },
            "two realisations",
        ),
    ],
)
def test_realisations_that_contradict_their_keys_are_refused(
    value: dict[DrvOutput, Realisation], complaint: str
) -> None:
    data = map_of(common.drv_output, common.realisation_json).put(value, DIALECT)
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode(common.built_outputs_json, data, DIALECT)
