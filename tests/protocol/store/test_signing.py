import subprocess
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.store.hash import Hash
from protocol.store.narinfo import NarInfo
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import (
    BadKey,
    BadSignature,
    PublicKey,
    SecretKey,
    parse_signature,
    signers,
)
from tests.support import strategies

# Seed, public key and signature of the empty message: the first test vector of RFC 8032.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
    "d25bf5f0595bbe24655141438e7a100b"
)
KEY = SecretKey.parse(f"k-1:{b64encode(SEED + PUBLIC).decode()}")
PATH = StorePath.parse("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo")
INFO = PathInfo(nar_hash=Hash.of(b""), nar_size=1)


def test_the_published_vector() -> None:
    assert KEY.sign("") == f"k-1:{b64encode(SIGNATURE).decode()}"
    assert KEY.public() == PublicKey("k-1", PUBLIC)
    assert KEY.public().verify("", KEY.sign(""))


def test_keys_come_back() -> None:
    key = SecretKey.generate("cache.example-1")
    assert SecretKey.parse(key.render()) == key
    assert PublicKey.parse(key.public().render()) == key.public()


def test_a_secret_is_not_shown() -> None:
    assert "seed" not in repr(KEY)
    with pytest.raises(BadKey) as caught:
        SecretKey.parse(f"k-1:{b64encode(SEED + SEED).decode()}")
    assert b64encode(SEED).decode()[:20] not in str(caught.value)
    with pytest.raises(BadKey) as caught:
        SecretKey.parse(KEY.render()[:-4])
    assert b64encode(SEED).decode()[:20] not in str(caught.value)


@given(strategies.texts(), st.integers(0, 63), st.integers(1, 255))
def test_any_change_is_noticed(text: str, place: int, flip: int) -> None:
    public = KEY.public()
    good = KEY.sign(text)
    assert public.verify(text, good)
    assert not public.verify(text + "x", good)
    value = bytearray(parse_signature(good)[1])
    value[place] ^= flip
    assert not public.verify(text, f"k-1:{b64encode(value).decode()}")


def test_another_name_is_another_key() -> None:
    assert not PublicKey("k-2", PUBLIC).verify("", KEY.sign(""))


@pytest.mark.parametrize("text", ["", "k", "k:", ":AAAA", "k:AAAA", "k:é", f"k:{'A' * 86}", "k:*"])
def test_what_is_no_key_or_signature_is_refused(text: str) -> None:
    with pytest.raises(BadKey):
        PublicKey.parse(text)
    with pytest.raises(BadKey):
        SecretKey.parse(text)
    with pytest.raises(BadSignature):
        parse_signature(text)


@pytest.mark.parametrize("name", ["", "a:b"])
def test_names_that_cannot_be_read_back_are_refused(name: str) -> None:
    with pytest.raises(BadKey, match="no colon"):
        SecretKey.generate(name)


def test_signers_are_found_among_junk() -> None:
    other = SecretKey.generate("other")
    foreign = SecretKey.generate("k-1")
    fingerprint = INFO.fingerprint(PATH)
    signed = replace(
        INFO,
        signatures=frozenset(
            {KEY.sign(fingerprint), other.sign("something else"), "junk", "k-1:short", ":"}
        ),
    )
    assert signers(PATH, signed, [KEY.public(), other.public()]) == {"k-1"}
    assert signers(PATH, signed, [foreign.public()]) == frozenset()
    assert signers(PATH, signed, [foreign.public(), KEY.public()]) == {"k-1"}


@pytest.mark.live
def test_real_nix_and_we_sign_alike(tmp_path: Path) -> None:
    def nix(*arguments: str) -> str:
        experimental = ["--extra-experimental-features", "nix-command"]
        return subprocess.run(
            ["nix", *experimental, *arguments], check=True, capture_output=True, text=True
        ).stdout

    secret = nix("key", "generate-secret", "--key-name", "live-1")
    key = SecretKey.parse(secret)
    assert key.render() == secret
    (tmp_path / "key").write_text(secret)
    (tmp_path / "file").write_text("signed by both\n")
    store, cache = f"{tmp_path}/store", f"{tmp_path}/cache"
    path = nix("store", "add-file", "--store", store, f"{tmp_path}/file").strip()
    nix("store", "sign", "--store", store, "--key-file", f"{tmp_path}/key", path)
    nix("copy", "--from", store, "--to", f"file://{cache}", "--no-check-sigs", path)
    text = (tmp_path / "cache" / f"{StorePath.parse(path).digest}.narinfo").read_text()
    found = NarInfo.parse(text)
    assert found.render() == text
    assert found.info.signatures == {key.sign(found.info.fingerprint(found.path))}
    assert signers(found.path, found.info, [key.public()]) == {"live-1"}
