import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.store import base32


def digits_one_by_one(data: bytes) -> str:
    """The definition, digit by digit."""
    number = int.from_bytes(data, "little")
    length = -(-len(data) * 8 // 5)
    return "".join(base32.ALPHABET[number >> 5 * k & 31] for k in reversed(range(length)))


def test_the_hash_of_nothing_is_written_as_nix_writes_it() -> None:
    empty = hashlib.sha256(b"").digest()
    assert base32.encode(empty) == "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"


@given(st.binary(max_size=70))
def test_digits_follow_the_definition(data: bytes) -> None:
    assert base32.encode(data) == digits_one_by_one(data)


@given(st.binary(max_size=70))
def test_bytes_come_back(data: bytes) -> None:
    assert base32.decode(base32.encode(data)) == data


@given(st.text(base32.ALPHABET, max_size=60))
def test_a_text_is_what_its_bytes_are_written_as_or_refused(text: str) -> None:
    try:
        data = base32.decode(text)
    except RemoteProtocolError:
        return
    assert base32.encode(data) == text


@pytest.mark.parametrize("text", ["e", "0e", "A0", "00=", "0\n", "é0", "00000 00"])
def test_other_characters_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not a Nix base-32"):
        base32.decode(text)


@pytest.mark.parametrize("text", ["1", "z0", "000", "000000"])
def test_digits_that_no_bytes_give_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="no bytes"):
        base32.decode(text)
