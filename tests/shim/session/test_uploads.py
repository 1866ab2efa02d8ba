"""What becomes of an upload: what proves itself, what is signed, what proves nothing, what lies."""

from dataclasses import replace
from pathlib import Path

import pytest

from protocol.store.addressing import content_path
from protocol.store.content_address import ContentAddress, Method
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import STORE_DIR, StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import SecretKey
from shim.config import NixStore, Uploads
from shim.session.uploads import DEFAULT_KEY, Fate, UploadRefused, judge, trusted_keys

KEY = SecretKey.generate("ours-1")
KEYS = (KEY.public(),)
REFERENCE = StorePath.parse(f"{STORE_DIR}/{'0' * 32}-reference")
PLAIN = StorePath.parse(f"{STORE_DIR}/{'1' * 32}-plain")
NOTHING = PathInfo(nar_hash=Hash.of(b"nar"), nar_size=3)

BOTH = pytest.mark.parametrize("rule", list(Uploads))


def fate(path: StorePath, info: PathInfo, rule: Uploads) -> Fate:
    return judge(path, info, rule, KEYS, STORE_DIR)


ADDRESSES = [
    ContentAddress(Method.TEXT, Hash.of(b"x")),
    ContentAddress(Method.FLAT, Hash.of(b"x")),
    ContentAddress(Method.NAR, Hash.of(b"x")),
    ContentAddress(Method.NAR, Hash.of(b"x", HashAlgorithm.SHA512)),
]


@BOTH
@pytest.mark.parametrize("content", ADDRESSES, ids=str)
def test_a_content_address_is_proof(content: ContentAddress, rule: Uploads) -> None:
    info = replace(NOTHING, content_address=content)
    assert fate(content_path("name", content), info, rule) is Fate.IMPORT
    with pytest.raises(UploadRefused, match="leads to"):
        fate(PLAIN, info, rule)


@BOTH
def test_references_belong_to_the_proof(rule: Uploads) -> None:
    content = ADDRESSES[2]
    path = content_path("name", content, [REFERENCE], refers_to_itself=True)
    info = replace(NOTHING, content_address=content, references=frozenset({REFERENCE, path}))
    assert fate(path, info, rule) is Fate.IMPORT
    with pytest.raises(UploadRefused):
        fate(path, replace(info, references=frozenset({REFERENCE})), rule)


@BOTH
def test_a_derivation_has_to_prove_itself_as_a_text(rule: Uploads) -> None:
    drv = content_path("x.drv", ADDRESSES[0])
    assert fate(drv, replace(NOTHING, content_address=ADDRESSES[0]), rule) is Fate.IMPORT
    signed = replace(NOTHING, signatures=frozenset({KEY.sign(NOTHING.fingerprint(drv))}))
    for info in (NOTHING, signed):
        with pytest.raises(UploadRefused, match="needs its content address"):
            fate(drv, info, rule)
    with pytest.raises(UploadRefused, match="is a text"):
        fate(
            content_path("x.drv", ADDRESSES[2]),
            replace(NOTHING, content_address=ADDRESSES[2]),
            rule,
        )


@BOTH
def test_a_trusted_signature_is_proof(rule: Uploads) -> None:
    signed = replace(NOTHING, signatures=frozenset({KEY.sign(NOTHING.fingerprint(PLAIN))}))
    assert fate(PLAIN, signed, rule) is Fate.IMPORT


@pytest.mark.parametrize(
    "signature",
    [
        KEY.sign("something else"),
        SecretKey.generate("ours-1").sign(NOTHING.fingerprint(PLAIN)),
        SecretKey.generate("theirs-1").sign(NOTHING.fingerprint(PLAIN)),
        "no signature at all",
    ],
)
def test_any_other_signature_is_none(signature: str) -> None:
    info = replace(NOTHING, signatures=frozenset({signature}))
    assert fate(PLAIN, info, Uploads.REDERIVE) is Fate.DROP


def test_what_proves_nothing_is_accepted_or_dropped_as_the_domain_says() -> None:
    assert fate(PLAIN, NOTHING, Uploads.ACCEPT) is Fate.IMPORT
    assert fate(PLAIN, NOTHING, Uploads.REDERIVE) is Fate.DROP


def test_keys_are_those_of_the_store_and_ours() -> None:
    other = SecretKey.generate("other-1").public()
    store = NixStore(Path("/x"))
    assert {key.name for key in trusted_keys(store, KEYS)} == {DEFAULT_KEY.split(":")[0], "ours-1"}
    listed = {"trusted-public-keys": "", "extra-trusted-public-keys": other.render()}
    assert trusted_keys(NixStore(Path("/x"), settings=listed), KEYS) == (other, *KEYS)
