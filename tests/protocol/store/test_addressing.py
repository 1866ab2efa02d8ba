"""Paths against worked examples of real Nix (made with 2.8.0) and against its rules."""

import pytest

from protocol.errors import LocalProtocolError
from protocol.nar.events import Data, End, Regular
from protocol.nar.writer import NarWriter
from protocol.store.addressing import content_path, output_path, text_path
from protocol.store.content_address import ContentAddress, Method
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import BadStorePath, StorePath

DIGEST = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"
FOO = StorePath.parse(f"/nix/store/{DIGEST}-foo")


FILE = b"hello there"
FILE_NAR = NarWriter().write_all([Regular(executable=False, size=11), Data(FILE), End()])


@pytest.mark.parametrize(
    ("method", "hashed", "algorithm", "digest"),
    [
        (Method.FLAT, FILE, HashAlgorithm.SHA256, "r61a91vk2bg1hjsmlmik019gvyf7gk57"),
        (Method.NAR, FILE_NAR, HashAlgorithm.SHA1, "s5fnrdzabr2h1493zhr8vhix0j12pk1a"),
        (Method.NAR, FILE_NAR, HashAlgorithm.SHA256, "9ws96qw4zw319j3jq3zd774ri65vigy5"),
    ],
)
def test_files_added_by_nix_store(
    method: Method, hashed: bytes, algorithm: HashAlgorithm, digest: str
) -> None:
    content = ContentAddress(method, Hash.of(hashed, algorithm))
    assert content_path("file", content).digest == digest


def test_a_file_made_by_the_evaluator() -> None:
    assert text_path("notes", b"some notes\n", []).digest == "f76id3pmarg0hijvbpl8j6fks1pn9avs"


def test_the_store_directory_counts() -> None:
    content = ContentAddress(Method.NAR, Hash.of(b"hello"))
    one, two = (content_path("x", content, store_dir=where) for where in ("/nix/store", "/other"))
    assert two.store_dir == "/other"
    assert one.digest != two.digest


def test_references_count_in_any_order() -> None:
    bar = StorePath.parse(f"/nix/store/{DIGEST}-bar")
    assert text_path("x", b"", [FOO, bar]) == text_path("x", b"", [bar, FOO])
    assert len({text_path("x", b"", refs) for refs in ([], [FOO], [bar], [FOO, bar])}) == 4


def test_referring_to_itself_counts() -> None:
    content = ContentAddress(Method.NAR, Hash.of(b"hello"))
    itself = content_path("x", content, refers_to_itself=True)
    assert itself != content_path("x", content)


@pytest.mark.parametrize(
    "content",
    [
        ContentAddress(Method.FLAT, Hash.of(b"")),
        ContentAddress(Method.NAR, Hash.of(b"", HashAlgorithm.SHA1)),
        ContentAddress(Method.GIT, Hash.of(b"")),
    ],
)
def test_only_texts_and_nars_have_references(content: ContentAddress) -> None:
    with pytest.raises(LocalProtocolError, match="cannot have references"):
        content_path("x", content, [FOO])
    with pytest.raises(LocalProtocolError, match="cannot refer to itself"):
        content_path("x", content, refers_to_itself=True)


def test_a_text_cannot_refer_to_itself() -> None:
    with pytest.raises(LocalProtocolError, match="cannot refer to itself"):
        content_path("x", ContentAddress(Method.TEXT, Hash.of(b"")), refers_to_itself=True)


def test_outputs_but_out_are_named_after_themselves() -> None:
    digest = Hash.of(b"")
    assert output_path("x", "out", digest).name == "x"
    assert output_path("x", "dev", digest).name == "x-dev"


def test_names_are_checked() -> None:
    with pytest.raises(BadStorePath, match="a b"):
        output_path("a b", "out", Hash.of(b""))
