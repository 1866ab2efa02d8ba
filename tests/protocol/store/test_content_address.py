import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.store.content_address import (
    BadContentAddress,
    ContentAddress,
    Method,
    parse_method,
    parse_output_method,
    render_method,
)
from protocol.store.hash import Hash, HashAlgorithm
from tests.support import strategies

SHA256 = Hash.of(b"hello")
SHA1 = Hash.of(b"hello", HashAlgorithm.SHA1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ContentAddress(Method.TEXT, SHA256), f"text:sha256:{SHA256.nix32()}"),
        (ContentAddress(Method.FLAT, SHA1), f"fixed:sha1:{SHA1.nix32()}"),
        (ContentAddress(Method.NAR, SHA256), f"fixed:r:sha256:{SHA256.nix32()}"),
        (ContentAddress(Method.GIT, SHA1), f"fixed:git:sha1:{SHA1.nix32()}"),
    ],
)
def test_spellings(value: ContentAddress, text: str) -> None:
    assert value.render() == str(value) == text
    assert ContentAddress.parse(text) == value


def test_other_bases_are_read() -> None:
    for digest in (SHA256.base16(), SHA256.base64()):
        assert ContentAddress.parse(f"fixed:r:sha256:{digest}").hash == SHA256


@given(strategies.content_addresses)
def test_every_address_comes_back(value: ContentAddress) -> None:
    assert ContentAddress.parse(value.render()) == value


@given(strategies.methods)
def test_methods_come_back(pair: tuple[Method, HashAlgorithm]) -> None:
    method, algorithm = pair
    assert parse_method(render_method(method, algorithm)) == pair
    assert parse_output_method(f"{method.prefix}{algorithm}") == pair


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fixed",
        SHA256.nix32(),
        f"sha256:{SHA256.nix32()}",
        f"text:r:sha256:{SHA256.nix32()}",
        f"text:sha1:{SHA1.nix32()}",
        f"fixed:text:sha256:{SHA256.nix32()}",
        f"fixed:R:sha256:{SHA256.nix32()}",
        f"fixed:r:sha3:{SHA256.nix32()}",
        f"fixed:r:sha1:{SHA256.nix32()}",
        f"fixed:r:{SHA256.sri()}",
        "fixed:r:sha256:",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        ContentAddress.parse(text)


def test_a_text_is_addressed_by_sha256() -> None:
    with pytest.raises(BadContentAddress, match="sha256"):
        ContentAddress(Method.TEXT, SHA1)
    with pytest.raises(BadContentAddress, match="sha256"):
        parse_output_method("text:sha1")


@given(st.text(max_size=70) | st.text(max_size=60).map(lambda text: f"fixed:r:sha256:{text}"))
def test_junk_is_an_address_or_refused(text: str) -> None:
    try:
        value = ContentAddress.parse(text)
    except RemoteProtocolError:
        return
    assert ContentAddress.parse(value.render()) == value
