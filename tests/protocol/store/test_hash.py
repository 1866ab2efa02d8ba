import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.store.hash import BadHash, Hash, HashAlgorithm, compress
from tests.support import strategies

HELLO = Hash.of(b"hello")
SPELLINGS = [
    HELLO.sri(),
    f"sha256:{HELLO.base16()}",
    f"sha256:{HELLO.nix32()}",
    f"sha256:{HELLO.base64()}",
]


def test_bytes_are_hashed_by_the_named_algorithm() -> None:
    assert Hash.of(b"x", HashAlgorithm.SHA512).digest == hashlib.sha512(b"x").digest()


def test_the_standard_library_cannot_compute_blake3() -> None:
    with pytest.raises(LocalProtocolError, match="blake3"):
        Hash.of(b"", HashAlgorithm.BLAKE3)


@pytest.mark.parametrize("text", SPELLINGS)
def test_every_spelling_is_read(text: str) -> None:
    assert Hash.parse(text) == HELLO


@given(strategies.hashes())
def test_bare_spellings_are_told_apart_by_length(value: Hash) -> None:
    for text in (value.base16(), value.base16().upper(), value.nix32(), value.base64()):
        assert Hash.parse(text, value.algorithm) == value


@given(strategies.hashes())
def test_sri_comes_back(value: Hash) -> None:
    assert Hash.parse(value.sri()) == value


@pytest.mark.parametrize(
    ("text", "algorithm", "message"),
    [
        ("", None, "without the name"),
        (HELLO.base16(), None, "without the name"),
        ("sha3:00", None, "unknown hash algorithm: `sha3`"),
        (f"sha256:{HELLO.base16()}", HashAlgorithm.SHA1, "expected a sha1"),
        (f"sha256-{HELLO.base16()}", None, "SRI"),
        (f"sha256:{HELLO.base16()[1:]}", None, "not a sha256"),
        (f"sha256:{'g' * 64}", None, "not a sha256"),
        (f"sha256:{'e' * 52}", None, "not a sha256"),
        (f"sha256:{'=' * 44}", None, "not a sha256"),
        (f"sha256:{HELLO.base64()[:-1]}é", None, "not a sha256"),
        # Bits that no digest has: a decoder that drops them would take two texts for one hash.
        (f"sha256:{HELLO.base64()[:-2]}R=", None, "not a sha256"),
        (f"sha256:z{HELLO.nix32()[1:]}", None, "not a sha256"),
    ],
)
def test_what_is_no_hash_is_refused(
    text: str, algorithm: HashAlgorithm | None, message: str
) -> None:
    with pytest.raises(BadHash, match=message):
        Hash.parse(text, algorithm)


def test_a_digest_has_the_length_of_its_algorithm() -> None:
    with pytest.raises(BadHash, match="20 bytes, not 32"):
        Hash(HashAlgorithm.SHA1, HELLO.digest)


@given(st.text(max_size=70))
def test_junk_is_a_hash_or_refused(text: str) -> None:
    try:
        value = Hash.parse(text)
    except RemoteProtocolError:
        return
    assert Hash.parse(value.sri()) == value


@given(st.binary(max_size=80))
def test_folding_follows_the_definition(digest: bytes) -> None:
    folded = bytearray(20)
    for index, byte in enumerate(digest):
        folded[index % 20] ^= byte
    assert compress(digest) == bytes(folded)
